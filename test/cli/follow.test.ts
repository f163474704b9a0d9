/** Following a controller that comes and goes. */
import { expect, test } from 'vitest'
import { keepFollowing } from '../../cli/follow.ts'
import { VwnError } from '../../core/errors.ts'
import { fakeClock } from '../../kit/clock.ts'
import type { ServerEvent } from '../../kit/server-events.ts'

const event = (data: string): ServerEvent => ({ event: 'event', id: null, data })
const away = new VwnError('CONTROLLER_AWAY', { at: 'here' })

/** Each connection says its words, then ends as told; after the last one nobody listens any more. */
function played(connections: readonly { readonly says: readonly string[]; readonly then?: Error }[]) {
  const clock = fakeClock()
  const enough = new AbortController()
  const told: string[] = []
  let opened = 0
  const following = keepFollowing({
    clock,
    async *open() {
      const connection = connections[opened++]
      if (connection === undefined) return enough.abort()
      yield* connection.says.map(event)
      if (connection.then !== undefined) throw connection.then
    },
    heard: ({ data }) => void told.push(data),
    lost: (why) => void told.push(why?.code ?? 'ended'),
  }, enough.signal)
  return { clock, following, told }
}

test('it goes on after every break, and waits longer while nothing comes', async () => {
  const { clock, following, told } = played([{ says: ['a', 'b'], then: away }, { says: [], then: away }, { says: [], then: away }, { says: ['c'] }])
  await clock.advance(100 + 200)
  expect(told).toEqual(['a', 'b', 'CONTROLLER_AWAY', 'CONTROLLER_AWAY', 'CONTROLLER_AWAY'])
  await clock.advance(399)
  expect(told).not.toContain('c')
  await clock.advance(1)
  expect(told.slice(5)).toEqual(['c', 'ended'])
  await clock.advance(100)
  await following
})

test('what is refused is not asked again', async () => {
  const { following, told } = played([{ says: ['a'], then: new VwnError('REQUEST_INVALID', {}) }])
  await expect(following).rejects.toMatchObject({ code: 'REQUEST_INVALID' })
  expect(told).toEqual(['a'])
})
