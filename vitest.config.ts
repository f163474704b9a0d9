import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { chooseImageStore } from './kit/image-store.ts'

// Files of the unit ring run side by side, one on each core; of rings that start guests and servers two at a time: while one waits, the other computes.
const sideBySide = 2
const slow = ['integration', 'conformance', 'batch', 'e2e'].map((ring) => `test/${ring}/**/*.test.ts`)

// Batch systems end what is late, so each has the machine but for the other: both wait more than they compute.
const batch = ['gridengine', 'slurm', 'slurm-batch'].map((system) => `test/batch/${system}.test.ts`)

// What promises milliseconds holds them on a host that has nothing else to do: these run alone.
const alone = ['test/integration/fifty.test.ts', 'test/integration/pause.test.ts', 'test/e2e/suspend.test.ts']

// Every case of Slurm on the host itself: run by whoever changes how the starter becomes a job, with WNOD_BATCH=1.
const onHost = 'test/batch/slurm-host.test.ts'
const batchToday = process.env['WNOD_BATCH'] === undefined ? batch : [...batch, onHost]

// Seventy ways to leave something behind take a guest seven minutes: run by whoever changes the scrub, with WNOD_HOSTILE=1.
const hostile = 'test/hostile/**/*.test.ts'

const oxc = { target: 'node20' } as const

// A migration is imported as its text, as the bundler does it too.
const plugins = [{
  name: 'sql-as-text',
  enforce: 'pre' as const,
  transform: (text: string, file: string) => (file.endsWith('.sql') ? `export default ${JSON.stringify(text)}` : null),
}]

// Guests boot from the store that scripts/setup.mjs has filled.
const env = { WNOD_IMAGES: chooseImageStore('/nonexistent', process.env) }

// By which a run knows what is its own (test/harness/temp.ts), for this process and those of the tests.
process.env['WNOD_TEST_RUN'] = String(process.pid)

/** Tests that start guests and servers; projects of one order run after those of the order before. */
const partsProject = (name: string, files: { include: string[]; exclude?: string[]; maxWorkers: number }, groupOrder: number) => ({
  oxc,
  plugins,
  test: {
    name,
    env,
    ...files,
    globalSetup: ['./test/harness/known-templates.ts', './test/harness/end-of-run.ts'],
    maxConcurrency: 8, // of cases that wait more than they compute
    testTimeout: 180_000,
    hookTimeout: 180_000,
    sequence: { groupOrder },
  },
})

export default defineConfig({
  test: {
    env,
    teardownTimeout: 60_000,
    reporters: ['default', './test/harness/summary-reporter.ts'],
    projects: [
      {
        oxc,
        plugins,
        test: { name: 'unit', env, include: ['test/**/*.test.ts'], exclude: [...slow, hostile], maxWorkers: availableParallelism(), testTimeout: 10_000, hookTimeout: 10_000 },
      },
      ...(process.env['WNOD_HOSTILE'] === undefined
        ? [
            partsProject('parts', { include: slow, exclude: [...alone, ...batch, onHost], maxWorkers: sideBySide }, 1),
            partsProject('batch', { include: batchToday, maxWorkers: sideBySide }, 2),
            partsProject('alone', { include: alone, maxWorkers: 1 }, 3),
          ]
        : [partsProject('parts', { include: [hostile], maxWorkers: 1 }, 1)]),
    ],
  },
})
