/** What jobs of Slurm cost more in a warm VWN, beside what `wnod run` costs more, and how many of them a node gets through. */
import { once } from 'node:events'
import { join } from 'node:path'
import { run } from '../kit/command.ts'
import { startSlurmDaemons, type SlurmDaemons } from '../test/batch/slurm-daemons.ts'
import { jobOf, startBenchFarm, timed } from './farm.ts'
import { amount, compare, type Found } from './results.ts'

const say = (text: string): void => void process.stderr.write(`${text}\n`)
/** So many jobs of the array run at once, each in a VWN of its own. */
const atOnce = 4
const room = { cpus: 16, memoryMib: 3_072, scratchGib: 64 }
const arrayMs = 3_600_000

/** A step through Slurm, natively and in a warm VWN, and the same command without Slurm, in turn; then an array of jobs, natively and in warm VWNs. */
export async function slurm(images: string, runs: number, jobs: number): Promise<Found> {
  await using farm = await startBenchFarm(images, { templates: true, room })
  await using daemons = await startSlurmDaemons()
  await run(process.execPath, [join(import.meta.dirname, 'wnod.js'), 'install', 'slurm', '--home', farm.home.home], { env: daemons.environment as Record<string, string> })
  const withSlurm: number[] = []
  const without: number[] = []
  await stepMs(daemons, ['--vm=warm'])
  await jobOf(farm, 'warm', ['true'])
  for (let round = 0; round < runs * 3; round += 1) {
    const bareStepMs = await stepMs(daemons, [])
    withSlurm.push((await stepMs(daemons, ['--vm=warm'])) - bareStepMs)
    const { endMs: bareMs } = await timed('true', [])
    without.push((await jobOf(farm, 'warm', ['true'])).endMs - bareMs)
    say(`  slurm ${round + 1}/${runs * 3}: a VWN adds ${Math.round(withSlurm.at(-1) ?? 0)} ms to a step of ${Math.round(bareStepMs)} ms, and ${Math.round(without.at(-1) ?? 0)} ms without Slurm`)
  }
  await perMinute(daemons, ['--vm=warm'], atOnce) // makes the VWNs
  const [native, ours] = [await perMinute(daemons, [], jobs), await perMinute(daemons, ['--vm=warm'], jobs)]
  const note = `an array of ${jobs} jobs \`true\`, ${atOnce} at once`
  return {
    comparisons: [compare('slurm: what a warm VWN adds to a job', withSlurm, without, { most: 1.2, note: '`srun --vm` less `srun`, against `wnod-starter` less the command itself' })],
    amounts: [
      amount('slurm: jobs in warm VWNs', ours, 'a minute', { note }),
      amount('slurm: the same jobs on the bare node', native, 'a minute', { note }),
    ],
  }
}

/** Milliseconds from the exec of srun to its end. */
async function stepMs(daemons: SlurmDaemons, options: readonly string[]): Promise<number> {
  const startedMs = performance.now()
  const child = daemons.start('srun', ['-D', '/tmp', ...options, 'true'])
  child.stderr?.pipe(process.stderr)
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`srun ${options.join(' ')} ended with ${code}`)
  return performance.now() - startedMs
}

/** How many jobs of an array end in a minute, from its submission to its end. */
async function perMinute(daemons: SlurmDaemons, options: readonly string[], jobs: number): Promise<number> {
  const startedMs = performance.now()
  const child = daemons.start('sbatch', ['--parsable', '-D', '/tmp', '-o', '/dev/null', `--array=1-${jobs}%${atOnce}`, ...options, '--wrap', 'true'])
  let id = ''
  child.stdout?.on('data', (chunk: Buffer) => (id += chunk.toString('latin1')))
  await once(child, 'close')
  const records = await daemons.over(id.trim(), arrayMs)
  const failed = records.find((record) => record.get('JobState') !== 'COMPLETED')
  if (failed !== undefined || records.length !== jobs) throw new Error(`of ${jobs} jobs ${records.length} have a record, and one is ${failed?.get('JobState')}`)
  return (jobs * 60_000) / (performance.now() - startedMs)
}
