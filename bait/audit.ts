/**
 * What is on this host that no record explains, and what records speak of that is not there. It asks the host, not the bait, so it
 * holds with the bait up or down; while a bait is in the middle of something it looks again before it accuses.
 */
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { idPatterns } from '../core/ids.ts'
import { systemClock } from '../kit/clock.ts'
import type { Home, HostPaths } from '../kit/paths.ts'
import { readPidFile } from '../kit/pid-file.ts'
import { isAlive } from '../kit/process.ts'
import { someoneAnswers } from '../kit/socket.ts'
import { findCgroups } from './cgroup.ts'
import type { Hypervisor, VmHandle } from './hypervisor/hypervisor.ts'
import { qemu } from './hypervisor/qemu.ts'
import { passingFolders, peekTemplates, templateFileNames, templateIdPattern, templateVmName } from './templates/files.ts'
import { openHandles, type Found } from './vwns/handles.ts'

export const auditKinds = ['vm', 'folder', 'file', 'socket', 'control group', 'record'] as const
export type AuditKind = (typeof auditKinds)[number]

/** One thing that is not explained. */
export interface AuditFinding {
  readonly kind: AuditKind
  readonly what: string
  readonly why: string
}

export interface AuditOptions {
  readonly home: Home
  readonly hypervisor?: Hypervisor
}

const looks = 3
const betweenMs = 400

/** Everything that stays unexplained however often one looks; empty is good. */
export async function audit(options: AuditOptions): Promise<readonly AuditFinding[]> {
  let found = await look(options)
  for (let looked = 1; found.length > 0 && looked < looks; looked += 1) {
    await systemClock.sleep(betweenMs)
    const again = new Set((await look(options)).map(keyOf))
    found = found.filter((finding) => again.has(keyOf(finding)))
  }
  return found
}

const keyOf = ({ kind, what }: AuditFinding): string => `${kind} ${what}`

async function look({ home, hypervisor = qemu({ clock: systemClock }) }: AuditOptions): Promise<readonly AuditFinding[]> {
  const hosts = (await names(home.hosts)).filter((host) => idPatterns.host.test(host))
  const vms = await hypervisor.find(`wnod.${home.hash}.`)
  const perHost = await Promise.all(hosts.map((host) => lookAtHost(home, host, vms)))
  const known = new Set(hosts.map((host) => `wnod.${home.hash}.${host}.`))
  const homeless = vms.filter(({ name }) => ![...known].some((prefix) => name.startsWith(prefix)))
  return [...perHost.flat(), ...homeless.map((vm) => unexplainedVm(vm))]
}

async function lookAtHost(home: Home, host: string, everyVm: readonly VmHandle[]): Promise<readonly AuditFinding[]> {
  const paths = home.host(host)
  const prefix = `wnod.${home.hash}.${host}.`
  const vms = everyVm.filter(({ name }) => name.startsWith(prefix))
  const up = (await readPidFile(paths.pid)) !== null
  const found = await openHandles(paths).peek()
  const groups = await findCgroups(prefix)
  const explained = found.filter(({ handle }) => handle !== null)
  const making = (await names(paths.templates)).includes('new') ? `${prefix}${templateVmName}` : null
  return [
    ...vms.filter((vm) => vm.name !== making && !explained.some(({ handle }) => explainsVm(handle, vm, prefix))).map(unexplainedVm),
    ...(await foldersOf(paths, found)),
    ...(await templatesOf(paths)),
    ...(await Promise.all(explained.map(({ handle }) => missingOf(paths, handle, vms)))).flat(),
    ...groups.filter((group) => basename(group) !== making && !explained.some(({ vwn, handle }) => `${prefix}${vwn}` === basename(group) && handle?.stage !== 'gone')).map((group) => ({ kind: 'control group' as const, what: group, why: 'no VWN on record uses it' })),
    ...(await strayFiles(paths, up)),
  ]
}

/** A record explains its VM once it names it; before that, any VM with its name. A probe guest explains itself by its bait. */
function explainsVm(handle: Found['handle'], vm: VmHandle, prefix: string): boolean {
  if (handle === null || handle.stage === 'gone' || vm.name !== `${prefix}${handle.vwn}`) return false
  return handle.vm === null || handle.stage === 'intent' || (handle.vm.pid === vm.pid && handle.vm.startTicks === vm.startTicks)
}

const unexplainedVm = (vm: VmHandle): AuditFinding => ({ kind: 'vm', what: `${vm.name} (pid ${vm.pid})`, why: 'no record names it' })

/** Folders that are no VWN's, or whose record cannot be read; files that a VWN at that stage has not. */
async function foldersOf(paths: HostPaths, found: readonly Found[]): Promise<readonly AuditFinding[]> {
  const strangers = (await names(paths.vms)).filter((name) => !idPatterns.vwn.test(name)).map((name) => ({ kind: 'folder' as const, what: join(paths.vms, name), why: 'it is no VWN' }))
  const perVwn = await Promise.all(found.map(async ({ vwn, handle }) => {
    const at = paths.vm(vwn)
    if (handle === null) return [{ kind: 'folder' as const, what: at.folder, why: 'it has no record that can be read' }]
    const kept = handle.stage === 'gone' ? ['handle.json', 'serial.log'] : vmFileNames
    return (await names(at.folder)).filter((name) => !kept.includes(name)).map((name) => ({ kind: name.endsWith('.sock') ? ('socket' as const) : ('file' as const), what: join(at.folder, name), why: `a VWN that is ${handle.stage} has no such file` }))
  }))
  return [...strangers, ...perVwn.flat()]
}

/** A template is whole, has nothing else in its folder, or is where the next bait removes it whatever is in it. */
async function templatesOf({ templates }: HostPaths): Promise<readonly AuditFinding[]> {
  const found = (await names(templates)).filter((name) => !passingFolders.includes(name))
  const whole = new Set((await peekTemplates(templates)).map(({ template }) => template.id))
  const perFolder = await Promise.all(found.map(async (name) => {
    const folder = join(templates, name)
    if (!whole.has(name)) return [{ kind: 'folder' as const, what: folder, why: templateIdPattern.test(name) ? 'this template is not whole' : 'it is no template' }]
    return (await names(folder)).filter((file) => !templateFileNames.includes(file)).map((file) => ({ kind: 'file' as const, what: join(folder, file), why: 'a template has no such file' }))
  }))
  return perFolder.flat()
}

const vmFileNames: readonly string[] = ['handle.json', 'scratch.qcow2', 'seed.tar', 'qmp.sock', 'agent.sock', 'serial.sock', 'state.sock', 'serial.log', 'hypervisor.log']

/** A record that says `ready` speaks of a VM that runs, disks that are there and a port that answers. */
async function missingOf(paths: HostPaths, handle: Found['handle'], vms: readonly VmHandle[]): Promise<readonly AuditFinding[]> {
  if (handle?.stage !== 'ready' || handle.vm === null) return []
  const finding = (why: string): AuditFinding => ({ kind: 'record', what: handle.vwn, why })
  const { pid, startTicks } = handle.vm
  if (!vms.some((vm) => vm.pid === pid && vm.startTicks === startTicks)) return [finding(isAlive({ pid, startTicks }) ? 'its process is not a VM of ours' : 'its VM does not run')]
  const files = await names(paths.vm(handle.vwn).folder)
  const lost = ['scratch.qcow2', 'qmp.sock', 'serial.sock'].filter((name) => !files.includes(name))
  const deaf = files.includes('agent.sock') && !(await someoneAnswers(paths.vm(handle.vwn).agentSocket)) ? [finding('nobody answers on its port')] : []
  return [...lost.map((name) => finding(`${name} is missing`)), ...deaf]
}

/** What only a bait that is there may have: half-written files and half-made disks. */
async function strayFiles(paths: HostPaths, up: boolean): Promise<readonly AuditFinding[]> {
  if (up) return []
  const folders = [paths.folder, paths.jobs, join(paths.folder, 'scratch'), paths.proof]
  const perFolder = await Promise.all(folders.map(async (folder) => (await names(folder)).filter((name) => folder === paths.proof || name.endsWith('.tmp')).map((name) => join(folder, name))))
  const stale = (await someoneAnswers(paths.socket)) ? [] : (await names(join(paths.socket, '..'))).filter((name) => join(paths.socket, '..', name) === paths.socket).map(() => paths.socket)
  return [
    ...perFolder.flat().map((file) => ({ kind: 'file' as const, what: file, why: 'its writer is gone' })),
    ...stale.map((what) => ({ kind: 'socket' as const, what, why: 'nobody listens on it' })),
  ]
}

const names = (folder: string): Promise<string[]> => readdir(folder).catch(() => [])

/** One line per kind with its count, then each finding: what people read. */
export function auditText(findings: readonly AuditFinding[]): string {
  const counts = auditKinds.map((kind) => `${String(findings.filter((finding) => finding.kind === kind).length).padStart(4)}  ${kind}s not explained\n`)
  const details = findings.map(({ kind, what, why }) => `${kind} ${what}: ${why}\n`)
  return `${counts.join('')}${String(findings.length).padStart(4)}  in all\n${details.join('')}`
}
