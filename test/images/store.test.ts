import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { claimRecipe, removeLeftBehind, workFolder } from '../../images/store.ts'
import { tempFolder } from '../harness/temp.ts'

test('what a builder left that was killed is removed, what a living one makes is not', async () => {
  await using store = await tempFolder()
  await using work = await workFolder(store.path)
  await mkdir(join(store.path, '.building-999999999-17-abcdef/root'), { recursive: true })
  await removeLeftBehind(store.path)
  expect((await readdir(store.path)).map((name) => join(store.path, name))).toEqual([work.path])
})

test('a recipe is built by one builder at a time', async () => {
  await using store = await tempFolder()
  const signal = AbortSignal.timeout(10_000)
  const claim = await claimRecipe(store.path, 'tiny', signal)
  expect(await readdir(join(store.path, 'locks'))).toEqual(['tiny.pid.json'])
  await claim[Symbol.asyncDispose]()
  expect(await readdir(join(store.path, 'locks'))).toEqual([])
})
