/** `wnod top`: the farm as it changes, on a terminal, until somebody has seen enough. */
import { explain, isVwnError, VwnError } from '../../core/errors.ts'
import { systemClock, type Timer } from '../../kit/clock.ts'
import { hostsReplySchema, receiptSchema, vwnDetailSchema } from '../../wire/api.ts'
import { farmSchema, tickSchema, type Farm } from '../../wire/farm.ts'
import type { Context } from '../context.ts'
import { keepFollowing } from '../follow.ts'
import { hostText, receiptText, vwnText } from '../show/one.ts'
import { linesOf } from './lines.ts'
import { openScreen } from './screen.ts'
import { startTop, step, type Ask, type TopEvent } from './state.ts'
import type { ViewName } from './views.ts'

/** Ages are drawn anew this often. */
const secondMs = 1_000
/** What comes so close together is drawn once. */
const frameMs = 50

/** Returns when the user has quit, or a signal or the end of the terminal did it for him. */
export async function top(context: Context): Promise<void> {
  const { stdin: input, stdout: output } = process
  if (!input.isTTY || !output.isTTY) throw new VwnError('OPTION_INVALID', { command: 'top', problem: 'it needs a terminal; `wnod vwns` prints once what there is' })
  const farm = await context.api.get('/farm', farmSchema)
  const quit = new AbortController()
  const end = (): void => quit.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, end)

  let state = startTop(farm, { rows: output.rows, columns: output.columns })
  let aheadMs = farm.nowMs - systemClock.nowMs()
  const draw = (): void => screen.draw(linesOf(state, context.colour))
  const frames = together(frameMs, draw)
  const take = (event: TopEvent): void => {
    if ('farm' in event) aheadMs = event.farm.nowMs - systemClock.nowMs()
    if (event.is === 'heard') aheadMs = event.nowMs - systemClock.nowMs()
    const next = step(state, event)
    state = next.top
    for (const ask of next.asks) obey(ask)
    frames.ask()
  }
  const look = looker(context, take, quit.signal)
  const obey = (ask: Ask): void => {
    switch (ask.do) {
      case 'quit':
        return end()
      case 'redraw':
        return screen.forget()
      case 'look':
        return look(ask.view, ask.id)
      case 'suspend':
        screen.leave()
        return void process.kill(process.pid, 'SIGSTOP')
      default:
        return ask satisfies never
    }
  }
  const screen = openScreen({ input, output }, {
    key: (key) => take({ is: 'key', key }),
    resize: () => take({ is: 'resize', size: { rows: output.rows, columns: output.columns } }),
    gone: end,
  })
  const continued = (): void => {
    screen.take()
    take({ is: 'resize', size: screen.size })
  }
  process.on('SIGCONT', continued)
  const second = systemClock.every(secondMs, () => take({ is: 'clock', nowMs: systemClock.nowMs() + aheadMs }))
  try {
    draw()
    await followFarm(context, farm.generation, take, quit.signal)
  } finally {
    second.cancel()
    frames.cancel()
    screen[Symbol.dispose]()
    process.off('SIGCONT', continued)
    for (const signal of signals) process.off(signal, end)
  }
}

/** Calls once for all who ask within so many milliseconds. */
function together(ms: number, call: () => void): { ask(): void; cancel(): void } {
  let timer: Timer | null = null
  return {
    ask() {
      timer ??= systemClock.after(ms, () => {
        timer = null
        call()
      })
    },
    cancel: () => timer?.cancel(),
  }
}

/** Every change of the farm after this generation, whatever happens to the controller meanwhile. */
function followFarm({ api }: Context, generation: number, take: (event: TopEvent) => void, signal: AbortSignal): Promise<void> {
  let known = generation
  const taken = (is: 'farm' | 'changes', farm: Farm): void => {
    known = farm.generation
    take({ is, farm })
  }
  return keepFollowing({
    open: (ending) => api.follow('/changes', { since: known }, ending),
    lost: (why) => take({ is: 'lost', why: why === null ? 'the controller has ended' : why.entry.say }),
    async heard({ event, data }) {
      const value: unknown = JSON.parse(data)
      if (event === 'change') {
        const farm = farmSchema.parse(value)
        if (farm.generation > known) taken('changes', farm)
      }
      if (event === 'reset') taken('farm', await api.get('/farm', farmSchema))
      if (event === 'tick' || event === 'change' || event === 'reset') take({ is: 'heard', nowMs: tickSchema.parse(value).nowMs })
    },
  }, signal)
}

/** Looks at one row in full, at one at a time; of those asked for meanwhile the last. */
function looker(context: Context, take: (event: TopEvent) => void, signal: AbortSignal): (view: ViewName, id: string) => void {
  let next: { readonly view: ViewName; readonly id: string } | null = null
  let looking = false
  const go = async (): Promise<void> => {
    looking = true
    while (next !== null && !signal.aborted) {
      const { view, id } = next
      next = null
      take({ is: 'looked', view, id, text: await textOf(context, view, id).catch(saidOf) })
    }
    looking = false
  }
  return (view, id) => {
    next = { view, id }
    if (!looking) void go()
  }
}

async function textOf({ api }: Context, view: ViewName, id: string): Promise<string> {
  switch (view) {
    case 'vwns':
      return vwnText(await api.get(`/vwns/${id}`, vwnDetailSchema))
    case 'jobs':
      return receiptText(await api.get(`/jobs/${id}/receipt`, receiptSchema))
    case 'hosts': {
      const host = (await api.get('/hosts', hostsReplySchema)).hosts.find((one) => one.host === id)
      if (host === undefined) throw new VwnError('HOST_NOT_FOUND', { host: id })
      return hostText(host)
    }
    default:
      return view satisfies never
  }
}

function saidOf(error: unknown): string {
  if (isVwnError(error)) return `${explain(error)} (${error.code})\n${error.entry.hint}`
  throw error
}
