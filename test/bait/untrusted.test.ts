import { createServer, type Socket } from 'node:net'
import { mkdtempSync } from 'node:fs'
import { readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { LineCutter } from '../../bait/lines.ts'
import { openSerialFile, readSerial, serialTail } from '../../bait/serial-log.ts'
import { openGuestPort } from '../../bait/vwns/port.ts'
import { fakeClock } from '../../kit/clock.ts'
import { silentLog } from '../../kit/log.ts'
import { listenUnix } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import type { FromPort } from '../../wire/guest.ts'

const folder = mkdtempSync(join(tmpdir(), 'wnod-'))
afterAll(() => rm(folder, { recursive: true }))

const cut = (bytesMax: number, chunks: readonly Buffer[]): { lines: string[]; dropped: number } => {
  const cutter = new LineCutter(bytesMax)
  const lines: string[] = []
  for (const chunk of chunks) cutter.push(chunk, (line) => lines.push(line.toString('latin1')))
  return { lines, dropped: cutter.dropped }
}

test('however a stream is cut into chunks, its lines are the same', () => {
  const line = fc.string({ unit: fc.constantFrom('a', 'b', '{', '"'), maxLength: 12 })
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (all, sizes) => {
      const whole = Buffer.from(all.map((one) => `${one}\n`).join(''))
      const chunks: Buffer[] = []
      for (let at = 0, i = 0; at < whole.length; i += 1) {
        const size = sizes[i % sizes.length] ?? 1
        chunks.push(whole.subarray(at, at + size))
        at += size
      }
      expect(cut(8, chunks)).toEqual(cut(8, [whole]))
      expect(cut(8, [whole]).lines).toEqual(all.filter((one) => one.length > 0 && one.length <= 8))
      expect(cut(8, [whole]).dropped).toBe(all.filter((one) => one.length > 8).length)
    }),
  )
})

test('a line without end is dropped once and costs no memory', () => {
  const endless = Array.from({ length: 100 }, () => Buffer.alloc(1024, 'x'))
  expect(cut(64 * 1024, [...endless, Buffer.from('\n{}\n')])).toEqual({ lines: ['{}'], dropped: 1 })
})

test('a serial log keeps how it began and how it ended, within its bounds', async () => {
  const path = join(folder, 'serial.log')
  const limits = { headBytes: 100, tailBytes: 50 }
  const file = await openSerialFile(path, limits)
  for (let i = 0; i < 100; i += 1) await file.append(Buffer.from(`line ${i}\n`))
  await file.append(Buffer.alloc(1_000, 'z'))
  await file.append(Buffer.from('the end\n'))
  await file.close()
  const text = await readFile(path, 'utf8')
  expect(text.startsWith('line 0\nline 1\n')).toBe(true)
  expect(text.endsWith('zzz' + 'the end\n')).toBe(true)
  const missing = Number(/\[… (\d+) bytes left out here by wnod …\]/.exec(text)?.[1])
  expect(missing).toBe(Array.from({ length: 100 }, (_, i) => `line ${i}\n`).join('').length + 1_000 + 'the end\n'.length - 100 - text.slice(text.indexOf('…]\n') + 3).length)
  expect((await stat(path)).size).toBeLessThan(100 + 2 * 50 + 60)
  expect(await serialTail(path, 12)).toBe('zzzzthe end')
  expect(await serialTail(join(folder, 'none'))).toBe('')
})

test('who reads a serial log piece by piece has every byte at its place, and is told what is missing, whatever is cut meanwhile', async () => {
  const limits = { headBytes: 40, tailBytes: 30 }
  const chunk = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '\n'), minLength: 1, maxLength: 50 })
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ chunk, looks: fc.nat(3) }), { maxLength: 12 }), fc.integer({ min: 1, max: 40 }), async (steps, bytesMax) => {
    const path = join(folder, `pieces-${nth++}.log`)
    const file = await openSerialFile(path, limits)
    let all = ''
    let at = 0
    const look = async (): Promise<void> => {
      const piece = await readSerial(path, at, bytesMax, limits)
      expect(piece.said).toBe(all.length)
      expect(piece.text).toBe(all.slice(piece.from, piece.next))
      expect(piece.from).toBeGreaterThanOrEqual(at)
      if (piece.from > at) expect(piece.from).toBeLessThanOrEqual(all.length) // a gap
      expect(piece.next > at).toBe(at < all.length)
      at = piece.next
    }
    for (const { chunk: said, looks } of steps) {
      await file.append(Buffer.from(said))
      all += said
      for (let i = 0; i < looks; i += 1) await look()
    }
    while (at < all.length) await look()
    await file.close()
  }), { numRuns: 30 })
})
let nth = 0

test('what is told of a console has no terminal control, and nothing of it is told half', async () => {
  const path = join(folder, 'control.log')
  const file = await openSerialFile(path)
  await file.append(Buffer.from('\x1b[2J\x1b]0;title\x07hello\x07 wörld\r\n\x1b[3'))
  const first = await readSerial(path, null, 1_000)
  expect(first).toMatchObject({ from: 0, text: 'hello wörld\n' })
  expect(first.said - first.next).toBe('\x1b[3'.length)
  await file.append(Buffer.concat([Buffer.from('1mred '), Buffer.from('é').subarray(0, 1)]))
  const second = await readSerial(path, first.next, 1_000)
  expect(second.text).toBe('red ')
  await file.append(Buffer.from('é').subarray(1))
  expect((await readSerial(path, second.next, 1_000)).text).toBe('é')
  expect((await readSerial(path, null, 4)).text).toBe('d é') // of the last lines that fit; here not even one does
  expect(await readSerial(join(folder, 'none'), null, 8)).toEqual({ from: 0, next: 0, said: 0, text: '' })
  await file.close()
})

test("a flooding guest is read only so fast, and its good words still arrive", async () => {
  const path = join(folder, 'port.sock')
  let guest: Socket | null = null
  const server = createServer((socket) => (guest = socket.on('error', () => undefined)))
  await listenUnix(server, path, 0o600)
  const clock = fakeClock()
  const heard: FromPort[] = []
  const port = await openGuestPort({ path, clock, log: silentLog, onMessage: (message) => heard.push(message) })
  const from = await until(() => guest as Socket | null, { withinMs: 2_000 })
  from.write('x'.repeat(100_000) + '\n' + 'not json\n'.repeat(150) + '{"kind":"pong","n":-1}\n')
  from.write('{"kind":"trouble","what":"first"}\n'.repeat(60_000))
  await until(() => heard.length > 0, { withinMs: 5_000 })
  expect(port.dropped).toBe(152)
  const before = heard.length
  expect(before).toBeLessThan(20_000)
  await until(async () => (await clock.advance(1_000), heard.length > before), { withinMs: 5_000, what: 'more is read in the next second' })
  port.close()
  server.close()
})
