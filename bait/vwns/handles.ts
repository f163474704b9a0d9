/**
 * One record per VWN, written before anything of it exists and until nobody asks about it any more. Whatever of a VWN is
 * found on the host is explained by its record, or is a leftover.
 *
 *   intent ─▶ spawned ─▶ ready ─▶ gone        `gone` stays until the Orders forget the VWN: nothing is made twice by mistake
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { vwnId, idPatterns, type VwnId } from '../../core/ids.ts'
import { removeLeftovers, tryReadJson, writeFailure, writeJson } from '../../kit/atomic-file.ts'
import type { HostPaths } from '../../kit/paths.ts'
import { reusePolicySchema, scrubReceiptSchema, sharerSchema, vwnSpecSchema, type VwnSpec, type WantedVwn } from '../../wire/bait.ts'
import { failureSchema, jobIdSchema, phasesSchema, timeMsSchema, tokenSchema, vwnIdSchema } from '../../wire/common.ts'
import { vmHandleSchema } from '../hypervisor/hypervisor.ts'

const keyPairSchema = z.strictObject({ secret: z.string(), shared: z.string() })

export const handleSchema = z.strictObject({
  v: z.literal(1),
  vwn: vwnIdSchema,
  token: tokenSchema,
  spec: vwnSpecSchema,
  /** Who may share it with its owner: as the Orders said when it was made, whatever they say later. */
  reuse: reusePolicySchema,
  /** Of its first job, as that job's starter proved it; null before. */
  owner: sharerSchema.nullable(),
  /** A job of another user than the owner was let in. */
  shared: z.boolean(),
  /** What the last scrub found out; null before the first. */
  scrub: scrubReceiptSchema.shape.scrub,
  /** Boot of the host in which it was made: after another one nothing of it runs. */
  bootId: z.string(),
  stage: z.enum(['intent', 'spawned', 'ready', 'gone']),
  /** The job that may have touched it since the last scrub. */
  job: jobIdSchema.nullable(),
  jobsRun: z.int().nonnegative(),
  /** Its VM may stand still, and its clock be late: who takes it on wakes it first. */
  paused: z.boolean().default(false),
  bootAttempt: z.int().nonnegative(),
  accelerator: z.enum(['kvm', 'tcg']),
  phases: phasesSchema,
  /** How its guest came to be, once that is known: cloned from this template, or booted for this reason. */
  made: z.enum(['clone', 'boot']).nullable().default(null),
  template: z.string().nullable().default(null),
  bootedBecause: z.string().nullable().default(null),
  /** Names the scratch overlay of this attempt; written before that is made. */
  overlay: z.string().nullable().default(null),
  sinceMs: timeMsSchema,
  /** How the bait reaches the guest, and proves itself to it. */
  sshPort: z.int().nullable(),
  hostKey: keyPairSchema.nullable(),
  clientKey: keyPairSchema.nullable(),
  vm: vmHandleSchema.nullable(),
  cause: failureSchema.nullable(),
})
export type Handle = z.output<typeof handleSchema>

/** A folder of `vms/`, with its record where that can be read. */
export interface Found {
  readonly vwn: VwnId
  readonly handle: Handle | null
}

export interface Handles {
  save(handle: Handle): Promise<void>
  /** Every folder there is; half-written files in them are removed. */
  all(): Promise<readonly Found[]>
  /** As `all`, but nothing is touched: a bait may be writing. */
  peek(): Promise<readonly Found[]>
  /** Removes all files of a VM but its record and its console. */
  removeFiles(vwn: VwnId): Promise<void>
  /** Removes the folder. */
  forget(vwn: VwnId): Promise<void>
}

/** The records below one host's folder. */
export function openHandles(host: Pick<HostPaths, 'vms' | 'vm'>): Handles {
  return {
    save: (handle) => writeJson(host.vm(handle.vwn).handle, handle),
    async all() {
      const found = await foldersIn(host)
      for (const vwn of found) await removeLeftovers(host.vm(vwn).folder)
      return Promise.all(found.map((vwn) => read(host, vwn)))
    },
    peek: async () => Promise.all((await foldersIn(host)).map((vwn) => read(host, vwn))),
    async removeFiles(vwn) {
      const paths = host.vm(vwn)
      const kept = [paths.handle, paths.serialLog].map((path) => basename(path))
      const names = await readdir(paths.folder).catch(() => [])
      await Promise.all(names.filter((name) => !kept.includes(name)).map((name) => rm(join(paths.folder, name), { recursive: true, force: true })))
    },
    forget: (vwn) => rm(host.vm(vwn).folder, { recursive: true, force: true }),
  }
}

/** The folder of a new VWN, for its owner's eyes only. */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw writeFailure(path, cause)
  })
}

const foldersIn = async (host: Pick<HostPaths, 'vms'>): Promise<readonly VwnId[]> =>
  (await readdir(host.vms).catch(() => [])).filter((name) => idPatterns.vwn.test(name)).map(vwnId)

async function read(host: Pick<HostPaths, 'vm'>, vwn: VwnId): Promise<Found> {
  const record = await tryReadJson(host.vm(vwn).handle, handleSchema).catch(() => null)
  return { vwn, handle: record?.content.vwn === vwn ? record.content : null }
}

/** What a VWN is made of, without what the host adds. */
export const freshHandle = (made: { vwn: VwnId; token: Handle['token']; spec: VwnSpec; reuse: WantedVwn['reuse']; owner: WantedVwn['owner']; bootId: string; accelerator: Handle['accelerator']; nowMs: number }): Handle => ({
  v: 1, vwn: made.vwn, token: made.token, spec: made.spec, reuse: made.reuse, owner: made.owner, shared: false, scrub: null, bootId: made.bootId, stage: 'intent',
  job: null, jobsRun: 0, paused: false, bootAttempt: 0, accelerator: made.accelerator, phases: {}, sinceMs: made.nowMs,
  made: null, template: null, bootedBecause: null, overlay: null,
  sshPort: null, hostKey: null, clientKey: null, vm: null, cause: null,
})
