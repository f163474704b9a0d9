/** Server-sent events, read: https://html.spec.whatwg.org/multipage/server-sent-events.html. */

export interface ServerEvent {
  readonly event: string
  /** What to say after a break, to be told what comes after this one; null where the server gave none. */
  readonly id: string | null
  readonly data: string
}

/** A server that sends more than this without an end of an event is not understood. */
const eventCharactersMax = 64 * 1024 * 1024

/** The events of a stream, each as soon as it is whole. A stream that ends in the middle of one has not sent it. */
export async function* serverEvents(chunks: AsyncIterable<string>): AsyncGenerator<ServerEvent> {
  let rest = ''
  for await (const chunk of chunks) {
    const blocks = (rest + chunk).replaceAll('\r\n', '\n').split('\n\n')
    rest = blocks.pop() ?? ''
    if (rest.length > eventCharactersMax) throw new Error(`an event of more than ${eventCharactersMax} characters`)
    for (const block of blocks) {
      const event = eventIn(block)
      if (event !== null) yield event
    }
  }
}

/** The event in the lines of one block; null for a comment or a word to the client alone. */
export function eventIn(block: string): ServerEvent | null {
  const fields = block.split('\n').map((line) => /^([^:]*)(?:: ?(.*))?$/s.exec(line)).map((match) => [match?.[1] ?? '', match?.[2] ?? ''] as const)
  const last = (name: string): string | null => fields.findLast(([field]) => field === name)?.[1] ?? null
  const data = fields.filter(([field]) => field === 'data').map(([, value]) => value)
  return data.length === 0 ? null : { event: last('event') ?? 'message', id: last('id'), data: data.join('\n') }
}
