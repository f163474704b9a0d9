/** A watcher: server-sent events as they come, kept in order. */
import { get, type IncomingHttpHeaders } from 'node:http'
import { eventIn, serverEvents, type ServerEvent } from '../../kit/server-events.ts'

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
      let ended = false
      const read = async (): Promise<void> => {
        for await (const event of serverEvents(reply.setEncoding('utf8'))) events.push(withData(event))
      }
      void read().catch((error: unknown) => {
        if (error instanceof SyntaxError) throw error // what it says is no JSON; that it breaks off is for the test to judge
      }).finally(() => { ended = true })
      resolve({
        status: reply.statusCode ?? 0, headers: reply.headers, events,
        get ended() { return ended },
        [Symbol.dispose]: () => void asked.destroy(),
      })
    })
    asked.once('error', reject)
  })
}

/** The events in this text. */
export const eventsIn = (text: string): StreamEvent[] => text.split('\n\n').flatMap((block) => eventIn(block) ?? []).map(withData)

const withData = ({ data, ...event }: ServerEvent): StreamEvent => ({ ...event, data: JSON.parse(data) as unknown })
