import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cases } from '../conformance/cases.ts'
import { page } from '../conformance/page.ts'

test('docs/conformance.md is what the table of cases prints', () => {
  expect(readFileSync(join(import.meta.dirname, '../../docs/conformance.md'), 'utf8')).toBe(page())
})

test('there are enough cases, each with a name of its own', () => {
  expect(cases.length).toBeGreaterThanOrEqual(60)
  expect(new Set(cases.map((one) => `${one.group} ${one.name}`)).size).toBe(cases.length)
})
