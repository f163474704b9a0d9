/** What ready VWNs cost while nobody wants them: memory of each, by what it is for, and processor time of all together. */
import { readFileSync } from 'node:fs'
import { until } from '../kit/until.ts'
import { poolMapping, readyVwns, startBenchFarm } from './farm.ts'
import { amount, type Found } from './results.ts'
import { quantile } from './stats.ts'

const kib = 1024
const vmMemoryMib = 512
const readyMs = 900_000
/** Long enough that a hundredth of a processor is thirty ticks of the kernel's clock. */
const watchMs = 30_000
const hostMib = 16 * 1024

/** So many clones wait at the same time. */
export async function idle(images: string, count: number): Promise<Found> {
  await using farm = await startBenchFarm(images, {
    templates: true,
    mapping: poolMapping({ memoryMib: vmMemoryMib, min: count, max: count }),
    room: { cpus: count + 4, memoryMib: (count + 4) * vmMemoryMib * 2, scratchGib: (count + 4) * 4 },
  })
  const ready = await until(async () => {
    const found = await readyVwns(farm)
    process.stderr.write(`  ${found.length} of ${count} are ready\n`)
    return found.length >= count && found
  }, { withinMs: readyMs, everyMs: 5_000, what: `${count} ready VWNs` })
  const pids = ready.flatMap(({ pid }) => (pid === null ? [] : [pid]))
  const before = pids.map(ticksOf)
  const startedMs = performance.now()
  await until(() => performance.now() - startedMs >= watchMs, { withinMs: watchMs * 2, everyMs: 1_000, what: 'the end of the watch' })
  const usedMs = pids.reduce((sum, pid, index) => sum + (ticksOf(pid) - (before[index] ?? 0)) * 10, 0)
  const cpuPercent = (usedMs / (performance.now() - startedMs)) * 100

  const each = pids.map(memoryOf)
  const median = (part: keyof Memory): number => quantile(each.map((memory) => memory[part]), 0.5)
  const parts = Object.fromEntries(memoryParts.map((part) => [part, median(part)]))
  const guest = parts['guest memory'] ?? 0
  const whole = Object.values(parts).reduce((sum, value) => sum + value, 0)
  const sharedMib = quantile(each.map(({ shared }) => shared), 0.5)
  return {
    amounts: [
      amount('idle clone: guest memory that is its own', guest, 'MiB', { most: 25, note: `private dirty pages of its mapping of the template's memory, median of ${pids.length}` }),
      amount('idle clone: everything that is its own', whole, 'MiB', { note: 'private dirty pages of its process, by what they are for, medians', parts }),
      amount(`${pids.length} idle clones: processor`, cpuPercent, '% of one', { most: 1, note: `utime and stime of all of them over ${watchMs / 1000} s` }),
      amount('idle clones that fit into 16 GiB', Math.floor((hostMib - sharedMib) / whole), 'VWNs', { note: `computed: 16 GiB less what they share (${Math.round(sharedMib)} MiB), by what each has to itself` }),
    ],
  }
}

const memoryParts = ['guest memory', 'translation cache', 'QEMU: heap', 'QEMU: stacks and buffers', 'QEMU: program and libraries'] as const
type MemoryPart = (typeof memoryParts)[number]
/** MiB. */
type Memory = Readonly<Record<MemoryPart | 'shared', number>>

/** The private dirty pages of a QEMU, by what they are for, and what of it is others' as well: proc(5), smaps. */
function memoryOf(pid: number): Memory {
  const found: Record<MemoryPart | 'shared', number> = { 'guest memory': 0, 'translation cache': 0, 'QEMU: heap': 0, 'QEMU: stacks and buffers': 0, 'QEMU: program and libraries': 0, shared: 0 }
  let part: MemoryPart = 'QEMU: heap'
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const [, rights, path] = /^[0-9a-f]+-[0-9a-f]+ (\S{4}) \S+ \S+ \S+\s*(.*)$/.exec(line) ?? []
    if (rights !== undefined) part = partOf(rights, path ?? '')
    const [, name, value] = /^(Private_Dirty|Shared_Clean|Shared_Dirty|Private_Clean): +(\d+) kB$/.exec(line) ?? []
    if (name !== undefined) found[name === 'Private_Dirty' ? part : 'shared'] += Number(value) / kib
  }
  return found
}

/** What runs guest code was written by QEMU and belongs to no file: nothing else is writable and executable. */
function partOf(rights: string, path: string): MemoryPart {
  if (path.includes('/templates/')) return 'guest memory'
  if (path === '[heap]') return 'QEMU: heap'
  if (path.startsWith('/')) return 'QEMU: program and libraries'
  return rights.startsWith('rwx') ? 'translation cache' : 'QEMU: stacks and buffers'
}

/** utime and stime of all threads, in ticks of a hundredth of a second. */
export function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}
