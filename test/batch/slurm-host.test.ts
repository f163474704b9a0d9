/** Slurm, on the host itself: no farm is there, and the administrator has said `--unreachable bare`, so the starter becomes every job. */
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { run } from '../../kit/command.ts'
import { compared } from './compared.ts'
import { startSlurmAlone, type Slurm } from './slurm.ts'

const wnod = join(import.meta.dirname, '../../bin/wnod.js')
let slurm: Slurm

beforeAll(async () => {
  slurm = await startSlurmAlone()
  await run(process.execPath, [wnod, 'install', 'slurm', '--home', slurm.folder, '--unreachable', 'bare'], { env: slurm.environment as Record<string, string> })
}, 60_000)
afterAll(() => slurm?.[Symbol.asyncDispose](), 60_000)

compared('slurm', () => slurm, { where: 'on the host itself' })
