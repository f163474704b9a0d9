/** What `wnod install gridengine` reads of Grid Engine, and what it remembers; that it changes the real one is seen in test/batch. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { keptIn, parseSettings, set, type Setting } from '../../cli/install/qconf.ts'
import { tempFolder } from '../harness/temp.ts'

test('settings as qconf prints them, also over several lines', () => {
  const text = 'qname                 bait.q\nhostlist              @all\nslots                 1,[a=2], \\\n                      [b=3]\nprolog                root@/x y $job_id  \n#nothing 1\n'
  expect(Object.fromEntries(parseSettings(text))).toEqual({ qname: 'bait.q', hostlist: '@all', slots: '1,[a=2], [b=3]', prolog: 'root@/x y $job_id' })
})

/** A setting of a queue that is nowhere. */
function held(value: string): Setting & { now(): string } {
  let is = value
  return { name: 'starter_method of queue bait.q', read: () => Promise.resolve(is), write: (next) => Promise.resolve(void (is = next)), now: () => is }
}

test('what was set before comes back, however often it was set or taken back', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'bait.q.before.json')
  for (const before of ['NONE', '/site/starter']) {
    const setting = held(before)
    const change = (value: string) => set(setting, value, keptIn(file), true)
    for (const value of ['/wnod/a', '/wnod/a', '/wnod/b']) await change(value).make()
    expect(setting.now()).toBe('/wnod/b')
    for (const _twice of [1, 2]) await change('/wnod/b').takeBack()
    expect(setting.now()).toBe(before)
    expect(existsSync(file)).toBe(false)
  }
})

test('what somebody else has set is refused, unless it is to be replaced; and what he has set since stays', async () => {
  await using folder = await tempFolder()
  const kept = keptIn(join(folder.path, 'kept.json'))
  const setting = held('/site/starter')
  await expect(set(setting, '/wnod/a', kept, false).isMade()).rejects.toMatchObject({ code: 'INSTALL_FOREIGN_SETTING', facts: { is: '/site/starter' } })
  expect(await set(setting, '/wnod/a', kept, true).isMade()).toBe(false)
  await set(setting, '/wnod/a', kept, true).make()
  await setting.write('/site/other')
  await set(setting, '/wnod/a', kept, true).takeBack()
  expect(setting.now()).toBe('/site/other')
})
