/** The bait's settings: bait/bait.example.toml shows every key with its default. */
import { availableParallelism, totalmem } from 'node:os'
import { z } from 'zod'
import { hostIdSchema } from '../wire/common.ts'
import { loadConfig, type Config, type ConfigSource } from '../kit/config.ts'
import { freeSpaceGib } from './disk/scratch.ts'
import type { HostFacts } from '../wire/bait.ts'

const auto = z.literal('auto')

/** Every key of the file; the image store's default depends on the home. */
export const baitSchema = (imageStore: string) => z.strictObject({
  /** This host's name in the farm. */
  host: hostIdSchema,
  /** Folder of the image store. */
  images: z.string().min(1).default(imageStore),
  log_level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  /** Users beside root who may say how many jobs are pending. */
  reporters: z.array(z.string().min(1).max(256)).max(64).default([]),
  nats: z
    .strictObject({
      servers: z.array(z.string().min(1)).min(1).default(['nats://127.0.0.1:4222']),
      /** File with this bait's credentials; null for a server that asks for none. */
      creds: z.string().min(1).nullable().default(null),
    })
    .prefault({}),
  /** Health and numbers of this bait, to be read. */
  http: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      /** 0 takes a free one. */
      port: z.union([z.literal('off'), z.int().min(0).max(65_535)]).default(0),
    })
    .prefault({}),
  /** What all VWNs of this host together may take. */
  capacity: z
    .strictObject({
      cpus: z.union([auto, z.int().min(1).max(4096)]).default('auto'),
      memory_mib: z.union([auto, z.int().min(64)]).default('auto'),
      scratch_gib: z.union([auto, z.int().min(1)]).default('auto'),
    })
    .prefault({}),
  vm: z
    .strictObject({
      /** `auto`: kvm where a probe guest started with it, else tcg. */
      accelerator: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
      qemu: z.string().min(1).default('qemu-system-x86_64'),
      /** How long QEMU itself may take until it answers. */
      spawn_ms: z.int().min(1_000).default(20_000),
      /** How long a probe guest may take with kvm, and with tcg. */
      probe_kvm_ms: z.int().min(500).default(5_000),
      probe_tcg_ms: z.int().min(500).default(60_000),
    })
    .prefault({}),
  /** Saved machines that new VWNs are cloned from. */
  templates: z
    .strictObject({
      /** Disk that all of them together may take; 0: there are none, and every VWN is booted. */
      disk_gib: z.int().min(0).default(8),
      /** One that nothing was cloned from for so long is removed. */
      unused_hours: z.int().min(1).default(168),
    })
    .prefault({}),
  report: z.strictObject({ heartbeat_ms: z.int().min(100).default(2_000), answer_ms: z.int().min(100).default(3_000) }).prefault({}),
})
export type BaitSettings = z.output<ReturnType<typeof baitSchema>>

/** The checked settings of a bait. */
export const loadBaitConfig = (imageStore: string, source: ConfigSource): Config<BaitSettings> => loadConfig(baitSchema(imageStore), source)

/** What this host gives to VWNs: as told, else its processors, and four fifths of its memory and of the space that is free now. */
export async function capacityOf(settings: BaitSettings['capacity'], stateFolder: string): Promise<HostFacts['capacity']> {
  const { cpus, memory_mib: memoryMib, scratch_gib: scratchGib } = settings
  return {
    cpus: cpus === 'auto' ? availableParallelism() : cpus,
    memoryMib: memoryMib === 'auto' ? Math.floor((totalmem() / 1024 ** 2) * 0.8) : memoryMib,
    scratchGib: scratchGib === 'auto' ? Math.floor((await freeSpaceGib(stateFolder)) * 0.8) : scratchGib,
  }
}
