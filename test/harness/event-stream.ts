/** A watcher: server-sent events as they come, kept in order. */
import { get, type IncomingHttpHeaders } from 'node:http'

export interface StreamEvent {
  readonly event: string
  readonly id: string | null
  readonly data: unknown
}

export interface EventStream extends Disposable {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Everything that came so far. */
  readonly events: readonly StreamEvent[]
  /** The server has ended it. */
  readonly ended: boolean
}

/** Connects to this address and reads until disposed of; resolves with the server's first word. */
export function openEventStream(url: string, headers: Readonly<Record<string, string>> = {}): Promise<EventStream> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { headers }, (reply) => {
      const events: StreamEvent[] = []
      let text = ''
      let ended = false
      reply.setEncoding('utf8')
      reply.on('data', (chunk: string) => {
        const blocks = (text + chunk).split('\n\n')
        text = blocks.pop() ?? ''
        events.push(...blocks.flatMap(eventIn))
      })
      reply.once('error', () => { ended = true })
      reply.once('close', () => { ended = true })
      resolve({
        status: reply.statusCode ?? 0, headers: reply.headers, events,
        get ended() { return ended },
        [Symbol.dispose]: () => void asked.destroy(),
      })
    })
    asked.once('error', reject)
  })
}

/** The event in this block of lines, or none: a comment, or the server's `retry`. */
export function eventIn(block: string): StreamEvent[] {
  const fields = new Map(block.split('\n').map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]))
  const data = fields.get('data')
  return data === undefined ? [] : [{ event: fields.get('event') ?? 'message', id: fields.get('id') ?? null, data: JSON.parse(data) as unknown }]
}
