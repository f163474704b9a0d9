import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cases } from '../batch/cases.ts'
import { page, systemNames } from '../batch/page.ts'

test('of the cases there are enough, each with a name of its own, and few that differ', () => {
  expect(cases.length).toBeGreaterThanOrEqual(120)
  expect(new Set(cases.map((one) => `${one.group} ${one.name}`)).size).toBe(cases.length)
  for (const name of systemNames) expect(cases.filter((one) => one.differs?.[name] !== undefined).length).toBeLessThanOrEqual(10)
})

test('docs/batch-conformance.md is what the table of cases prints', () => {
  expect(readFileSync(join(import.meta.dirname, '../../docs/batch-conformance.md'), 'utf8')).toBe(page())
})
