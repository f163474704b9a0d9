import { expect, test } from 'vitest'
import { ratesOf, type Used } from '../../core/samples.ts'

const used = (atMs: number, more: Partial<Used> = {}): Used =>
  ({ atMs, cpuMs: 0, memoryBytes: 1, readBytes: 0, writtenBytes: 0, toGuestBytes: 0, fromGuestBytes: 0, ...more })

test('rates are what was used between two samples, for a second', () => {
  const rates = ratesOf([used(0), used(10_000, { cpuMs: 5_000, memoryBytes: 7, readBytes: 1_000, fromGuestBytes: 20 }), used(30_000, { cpuMs: 45_000, memoryBytes: 3, readBytes: 1_000, fromGuestBytes: 20 })])
  expect(rates).toEqual([
    { atMs: 10_000, cpus: 0.5, memoryBytes: 7, readBytes: 100, writtenBytes: 0, toGuestBytes: 0, fromGuestBytes: 2 },
    { atMs: 30_000, cpus: 2, memoryBytes: 3, readBytes: 0, writtenBytes: 0, toGuestBytes: 0, fromGuestBytes: 0 },
  ])
})

test('what is not known, or was counted anew, is no rate; one sample is none at all', () => {
  expect(ratesOf([used(0, { readBytes: null, toGuestBytes: 100 }), used(1_000, { readBytes: 5, writtenBytes: null, toGuestBytes: 3 })]))
    .toMatchObject([{ cpus: 0, readBytes: null, writtenBytes: null, toGuestBytes: null, fromGuestBytes: 0 }])
  expect(ratesOf([used(0)])).toEqual([])
  expect(ratesOf([used(5), used(5)])).toEqual([])
})
