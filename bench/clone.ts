/** What it takes to make a VWN: by a clone of a template, by a boot, and the bare QEMU doing the same; in turn, in one run. */
import { everyMade, holdVm, jobOf, startBenchFarm, templateOf, type BenchFarm, type Made } from './farm.ts'
import { bareRestore } from './floor.ts'
import { compare, type Found } from './results.ts'

const say = (text: string): void => void process.stderr.write(`${text}\n`)
/** Each with the VWN types of bench/farm.ts that use it. */
const kinds = [{ image: 'debian12', contact: 'agent', fresh: 'fresh', warm: 'warm' }, { image: 'tiny', contact: 'ssh', fresh: 'fresh-tiny', warm: 'warm-tiny' }] as const

/** From "make it" to available, of both images. */
export async function clone(images: string, runs: number): Promise<Found> {
  await using booting = await startBenchFarm(images)
  await using cloning = await startBenchFarm(images, { templates: true })
  const comparisons = []
  for (const kind of kinds) comparisons.push(...(await cloneOf(kind, booting, cloning, runs)))
  return { comparisons }
}

async function cloneOf({ image, contact, fresh, warm }: (typeof kinds)[number], booting: BenchFarm, cloning: BenchFarm, runs: number) {
  const template = { folder: await templateOf(cloning, fresh), contact }
  await using held = await holdVm(cloning, warm)
  const { vm } = held
  const made = { clone: [] as Made[], boot: [] as Made[] }
  const floor: number[] = []
  for (let run = 0; run < runs; run += 1) {
    made.boot.push(await make(booting, fresh, 'boot'))
    made.clone.push(await make(cloning, fresh, 'clone'))
    floor.push(await bareRestore(vm.args, vm.folder, template))
    say(`  ${image} ${run + 1}/${runs}: clone ${msOf(made.clone.at(-1))} ms, boot ${msOf(made.boot.at(-1))} ms, floor ${Math.round(floor.at(-1) ?? 0)} ms`)
  }
  const [clones, boots] = [made.clone.map(msOf), made.boot.map(msOf)]
  const phases = Object.fromEntries(Object.keys(made.clone[0]?.phases ?? {}).map((phase) => [phase, made.clone.map((one) => one.phases[phase] ?? 0)]))
  return [
    compare(`${image}: clone to available, against a boot`, clones, boots, { most: 1 / 12, note: 'from "make it" to available, both by the bait', phases }),
    compare(`${image}: clone to available, against bare QEMU`, clones, floor, { most: 1.3, note: 'bare QEMU with the same command line, spawn to restored to its first answer' }),
  ]
}

/** Makes one for a job, and waits until it is gone again. */
async function make(farm: BenchFarm, type: string, how: 'boot' | 'clone'): Promise<Made> {
  await farm.quiet()
  const before = everyMade(farm).length
  await jobOf(farm, type, ['true'])
  await farm.quiet()
  const made = everyMade(farm)[before]
  if (made?.made !== how) throw new Error(`a VWN was to be made by a ${how}: ${JSON.stringify(made)}`)
  return made
}

const msOf = (made: Made | undefined): number => Object.values(made?.phases ?? {}).reduce((sum, ms) => sum + ms, 0)
