import { defineConfig } from 'vitest/config'

// Unit rings run side by side; rings that start guests and servers run one file at a time, so that they time themselves honestly.
const slow = ['test/integration/**/*.test.ts', 'test/e2e/**/*.test.ts']

const oxc = { target: 'node20' } as const

export default defineConfig({
  test: {
    teardownTimeout: 60_000,
    reporters: ['default', './test/harness/summary-reporter.ts'],
    projects: [
      {
        oxc,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: slow, testTimeout: 10_000, hookTimeout: 10_000 },
      },
      {
        oxc,
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
