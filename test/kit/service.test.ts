import { expect, test } from 'vitest'
import { fakeClock } from '../../kit/clock.ts'
import { captureLog } from '../../kit/log.ts'
import { group, loop, service, type Kit } from '../../kit/service.ts'

function bench() {
  const clock = fakeClock()
  const { log, lines } = captureLog()
  const program = new AbortController()
  const kit: Kit = { clock, log, signal: program.signal }
  return { kit, clock, lines, program }
}

test('a loop runs at once, then every so often, until stopped', async () => {
  const { kit, clock } = bench()
  let turns = 0
  const subject = loop(kit, { name: 'x', everyMs: 100 }, () => void turns++)
  await subject.start()
  await subject.ready
  await clock.advance(0)
  expect(turns).toBe(1)
  await clock.advance(350)
  expect(turns).toBe(4)
  await subject.stop()
  await subject.stop()
  await clock.advance(1_000)
  expect(turns).toBe(4)
  expect(clock.pending).toBe(0)
})

test('wakes coalesce, and one during a turn makes one more turn', async () => {
  const { kit, clock } = bench()
  let turns = 0
  let finish: () => void = () => undefined
  const subject = loop(kit, { name: 'x', everyMs: null }, () => {
    turns++
    return new Promise<void>((resolve) => (finish = resolve))
  })
  await subject.start()
  await clock.advance(0)
  subject.wake()
  subject.wake()
  await clock.advance(10_000)
  expect(turns).toBe(1) // never two at once
  finish()
  await clock.advance(0)
  expect(turns).toBe(2)
  finish()
  await clock.advance(10_000)
  expect(turns).toBe(2)
  await subject.stop()
})

test('a failing turn is logged and tried again after a growing pause that no wake shortens', async () => {
  const { kit, clock, lines } = bench()
  let turns = 0
  const subject = loop(kit, { name: 'x', everyMs: 60_000 }, () => {
    if (++turns < 4) throw new Error('boom')
  })
  await subject.start()
  await clock.advance(0)
  subject.wake()
  await clock.advance(249)
  expect(turns).toBe(1)
  await clock.advance(1)
  expect(turns).toBe(2)
  await clock.advance(500 + 1_000)
  expect(turns).toBe(4)
  await subject.ready
  expect(lines.map((line) => [line.level, line.msg, line['pauseMs']])).toEqual([
    ['warn', 'loop turn failed', 250],
    ['warn', 'loop turn failed', 500],
    ['warn', 'loop turn failed', 1_000],
    ['info', 'loop works again', undefined],
  ])
  await subject.stop()
})

test('stopping tells the running turn and waits for it', async () => {
  const { kit, clock } = bench()
  let ended = false
  const subject = loop(kit, { name: 'x', everyMs: 10 }, async (signal) => {
    await clock.sleep(1_000_000, signal).catch(() => undefined)
    ended = true
  })
  await subject.start()
  await clock.advance(0)
  await subject.stop()
  expect(ended).toBe(true)
})

test('a loop stopped before it started never runs, and is never ready', async () => {
  const { kit } = bench()
  let turns = 0
  const subject = loop(kit, { name: 'x', everyMs: 10 }, () => void turns++)
  await subject.stop()
  await subject.start()
  expect(turns).toBe(0)
  await expect(subject.ready).rejects.toMatchObject({ code: 'CANCELLED' })
})

test('the end of the program ends its loops; a subscription wakes one and is given back', async () => {
  const { kit, clock, program } = bench()
  const listeners = new Set<() => void>()
  let turns = 0
  const wake = (listener: () => void) => {
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }
  const subject = loop(kit, { name: 'x', everyMs: null, wake }, () => void turns++)
  await subject.start()
  await clock.advance(0)
  for (const listener of listeners) listener()
  await clock.advance(0)
  expect(turns).toBe(2)
  program.abort()
  await subject.stop()
  expect(listeners.size).toBe(0)
})

test('a service starts once and stops once, and only after a start', async () => {
  const calls: string[] = []
  const make = () => service({ start: () => void calls.push('start'), stop: () => void calls.push('stop') })
  const used = make()
  await Promise.all([used.start(), used.start()])
  await used.ready
  await Promise.all([used.stop(), used.stop()])
  expect(calls).toEqual(['start', 'stop'])

  const unused = make()
  await unused.stop()
  await expect(unused.start()).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(calls).toEqual(['start', 'stop'])
})

test('a group starts in order, stops in reverse, and undoes a start that fails half-way', async () => {
  const calls: string[] = []
  const part = (name: string, fails = false) =>
    service({
      start: () => {
        calls.push(`start ${name}`)
        if (fails) throw new Error(`${name} is broken`)
      },
      stop: () => void calls.push(`stop ${name}`),
    })
  const whole = group(part('a'), part('b'))
  await whole.start()
  await whole.stop()
  expect(calls.splice(0)).toEqual(['start a', 'start b', 'stop b', 'stop a'])

  const broken = group(part('a'), part('b', true), part('c'))
  await expect(broken.start()).rejects.toThrow('b is broken')
  await expect(broken.ready).rejects.toThrow('b is broken')
  expect(calls).toEqual(['start a', 'start b', 'stop b', 'stop a'])
})
