import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { chooseImageStore } from './kit/image-store.ts'

// Files of the unit ring run side by side, one on each core; of rings that start guests and servers two at a time: while one waits, the other computes.
const sideBySide = 2
const slow = ['integration', 'conformance', 'batch', 'e2e'].map((ring) => `test/${ring}/**/*.test.ts`)

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

// Templates of this run (test/harness/known-templates.ts), for this process and those of the tests.
process.env['WNOD_TEST_TEMPLATES'] = join(tmpdir(), `wnod-test-templates-${process.pid}`)

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
      {
        oxc,
        plugins,
        test: {
          name: 'parts',
          env,
          include: process.env['WNOD_HOSTILE'] === undefined ? slow : [hostile],
          globalSetup: './test/harness/known-templates.ts',
          maxWorkers: sideBySide,
          maxConcurrency: 8, // of cases that wait more than they compute
          testTimeout: 180_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
