import fc from 'fast-check'
import { expect, test } from 'vitest'
import { serverEvents, type ServerEvent } from '../../kit/server-events.ts'

async function read(chunks: readonly string[]): Promise<ServerEvent[]> {
  const events: ServerEvent[] = []
  async function* sent(): AsyncGenerator<string> { yield* chunks }
  for await (const event of serverEvents(sent())) events.push(event)
  return events
}

const text = 'retry: 1000\n\n: quiet\n\nid: 7\nevent: change\ndata: {"a":1}\n\ndata:first\ndata: second\n\nevent: empty\ndata\n\nevent: cut\ndata: off\n'
const told = [
  { event: 'change', id: '7', data: '{"a":1}' },
  { event: 'message', id: null, data: 'first\nsecond' },
  { event: 'empty', id: null, data: '' },
]

test('events are told whole; comments, words to the client alone and what was cut off are not', async () => {
  expect(await read([text])).toEqual(told)
  expect(await read([text.replaceAll('\n', '\r\n')])).toEqual(told)
})

test('in whatever pieces they come', async () => {
  await fc.assert(fc.asyncProperty(fc.constantFrom(text, text.replaceAll('\n', '\r\n')), fc.array(fc.integer({ min: 0, max: 200 })), async (whole, cuts) => {
    const at = [0, ...cuts.toSorted((a, b) => a - b), whole.length]
    expect(await read(at.slice(1).map((end, i) => whole.slice(at[i], end)))).toEqual(told)
  }))
})
