/** What most tests of the controller's door need: a NATS server, a controller, and one bait `h1` that is played. */
import { Undo } from '../../kit/undo.ts'
import { startTestController, type TestController } from './controller.ts'
import { startFakeBait, type FakeBait, type FakeHostOptions } from './fake-bait.ts'
import { startNats } from './nats.ts'

export interface PlayedFarm extends AsyncDisposable {
  readonly natsUrl: string
  readonly controller: TestController
  readonly bait: FakeBait
}

/** All three have started; disposing of it ends them, the bait first. */
export async function startPlayedFarm({ mapping, ...played }: FakeHostOptions & { readonly mapping?: string } = {}): Promise<PlayedFarm> {
  const undo = new Undo()
  try {
    const nats = await startNats()
    undo.push('nats', () => nats.stop())
    const controller = await startTestController({ natsUrl: nats.url, ...(mapping !== undefined && { mapping }) })
    undo.push('controller', () => controller[Symbol.asyncDispose]())
    const bait = await startFakeBait({ url: nats.url, host: 'h1', ...played })
    undo.push('bait', () => bait.stop())
    return { natsUrl: nats.url, controller, bait, [Symbol.asyncDispose]: () => undo.undo() }
  } catch (error) {
    await undo.undo()
    throw error
  }
}
