/**
 * What a program says of itself to Prometheus, in its text format. Most is read from the state at the moment when somebody asks; what happens
 * and leaves no state is counted where it happens. Names and units are Prometheus's; labels have few values: never a user, a job or a VWN.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { systemClock } from './clock.ts'
import { version } from './version.ts'

export type Labels = Readonly<Record<string, string>>
/** One line of a family: its labels, and its value. */
export type Sample = readonly [labels: Labels, value: number]

interface Family {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
}

/** A family whose lines are asked for anew each time: what is not named any more is gone. */
export interface ReadFamily extends Family {
  /** True of numbers that only ever grow. */
  readonly counts?: true
  read(): readonly Sample[] | Promise<readonly Sample[]>
}

export interface CountedFamily extends Family {
  /** Lines that are there, with 0, before anything was counted. */
  readonly from?: readonly Labels[]
}

export interface Metrics {
  /** Of `text`. */
  readonly contentType: string
  text(): Promise<string>
  read(...families: readonly ReadFamily[]): void
  /** Counts one. */
  counter(family: CountedFamily): (labels: Labels) => void
  /** Takes in how long something took, in seconds. */
  seconds(family: Family & { readonly buckets: readonly number[] }): (labels: Labels, seconds: number) => void
}

/** From a message over the bus to a boot under emulation. */
export const workSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120] as const
/** From the same to the longest job. */
export const jobSeconds = [0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 259_200] as const

/** The families of one program; those of its process are there already. */
export function openMetrics(program: string): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const metrics: Metrics = {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    read(...families) {
      for (const { name, help, labels: labelNames = [], counts, read } of families) {
        if (counts === true) {
          const counter = new Counter({ name, help, labelNames, registers, async collect() {
            const samples = await read()
            counter.reset()
            for (const [labels, value] of samples) counter.inc(labels, value)
          } })
        } else {
          const gauge = new Gauge({ name, help, labelNames, registers, async collect() {
            const samples = await read()
            gauge.reset()
            for (const [labels, value] of samples) gauge.set(labels, value)
          } })
        }
      }
    },
    counter({ name, help, labels: labelNames = [], from = [] }) {
      const counter = new Counter({ name, help, labelNames, registers })
      for (const labels of from) counter.inc(labels, 0)
      return (labels) => counter.inc(labels)
    },
    seconds({ name, help, labels: labelNames = [], buckets }) {
      const histogram = new Histogram({ name, help, labelNames, registers, buckets: [...buckets] })
      return (labels, seconds) => histogram.observe(labels, seconds)
    },
  }
  metrics.read({ name: 'wnod_build_info', help: 'Always 1; which program this is.', labels: ['program', 'version'], read: () => [[{ program, version }, 1]] }, ...processFamilies())
  return metrics
}

/** A single line without labels. */
export const one = (value: number): readonly Sample[] => [[{}, value]]

/** True is 1. */
export const flag = (holds: boolean): number => (holds ? 1 : 0)

/** Kinds that are named even if there is none of them. */
export const zeros = (kinds: readonly Labels[]): readonly Sample[] => kinds.map((labels) => [labels, 0])

/** One line for each kind, with what all its samples come to. */
export function sums(samples: readonly Sample[]): readonly Sample[] {
  const totals = new Map<string, Sample>()
  for (const [labels, value] of samples) {
    const key = JSON.stringify(labels)
    totals.set(key, [labels, (totals.get(key)?.[1] ?? 0) + value])
  }
  return [...totals.values()]
}

/** By the names that every Prometheus client uses; read when asked for, because a program that rests must not wake to look at itself. */
function processFamilies(): readonly ReadFamily[] {
  const startedS = Math.round(systemClock.nowMs() / 1000 - process.uptime())
  const cpuS = (): number => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  }
  return [
    { name: 'process_cpu_seconds_total', help: 'Processor time of this process.', counts: true, read: () => one(cpuS()) },
    { name: 'process_resident_memory_bytes', help: 'Memory of this process.', read: () => one(process.memoryUsage.rss()) },
    { name: 'process_start_time_seconds', help: 'When this process has begun, since the epoch.', read: () => one(startedS) },
    { name: 'nodejs_heap_size_used_bytes', help: 'What the program itself keeps in memory.', read: () => one(process.memoryUsage().heapUsed) },
    { name: 'nodejs_eventloop_active_seconds_total', help: 'How long the event loop has been busy.', counts: true, read: () => one(performance.eventLoopUtilization().active / 1000) },
  ]
}
