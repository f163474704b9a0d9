import { defineConfig } from 'vitest/config'

// Unit rings run side by side; rings that start guests and servers run one file at a time, so that they time themselves honestly.
const slow = ['integration', 'conformance', 'e2e'].map((ring) => `test/${ring}/**/*.test.ts`)

const oxc = { target: 'node20' } as const

// A migration is imported as its text, as the bundler does it too.
const plugins = [{
  name: 'sql-as-text',
  enforce: 'pre' as const,
  transform: (text: string, file: string) => (file.endsWith('.sql') ? `export default ${JSON.stringify(text)}` : null),
}]

export default defineConfig({
  test: {
    teardownTimeout: 60_000,
    reporters: ['default', './test/harness/summary-reporter.ts'],
    projects: [
      {
        oxc,
        plugins,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: slow, testTimeout: 10_000, hookTimeout: 10_000 },
      },
      {
        oxc,
        plugins,
        test: {
          name: 'parts',
          include: slow,
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
