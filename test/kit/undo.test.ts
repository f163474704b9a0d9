import { expect, test } from 'vitest'
import { explain } from '../../core/errors.ts'
import { Undo } from '../../kit/undo.ts'

const steps = (undo: Undo, done: string[], ...names: string[]): void => {
  for (const name of names) undo.push(name, () => void done.push(name))
}

test('leaving the scope takes everything back, last thing first, and waits for it', async () => {
  const done: string[] = []
  {
    await using undo = new Undo()
    steps(undo, done, 'overlay')
    undo.push('vm', async () => {
      await Promise.resolve()
      done.push('vm')
    })
  }
  expect(done).toEqual(['vm', 'overlay'])
})

test('after release nothing is taken back', async () => {
  const done: string[] = []
  {
    await using undo = new Undo()
    steps(undo, done, 'a', 'b')
    undo.release()
  }
  expect(done).toEqual([])
})

test('undoing twice undoes once', async () => {
  const done: string[] = []
  const undo = new Undo()
  steps(undo, done, 'a')
  await undo.undo()
  await undo.undo()
  expect(done).toEqual(['a'])
})

test('a step that fails does not keep the others from running', async () => {
  const done: string[] = []
  const undo = new Undo()
  const boom = () => Promise.reject(new Error('boom'))
  steps(undo, done, 'first')
  undo.push('middle', boom)
  undo.push('late', boom)
  steps(undo, done, 'last')
  const error = await undo.undo().catch((caught: unknown) => caught)
  expect(done).toEqual(['last', 'first'])
  expect(explain(error)).toBe('undoing late failed: boom; undoing middle failed: boom')
})

test('failed steps go to whoever asked for them instead', async () => {
  const failed: string[] = []
  const undo = new Undo((step) => failed.push(step))
  undo.push('a', () => {
    throw new Error('boom')
  })
  await undo.undo()
  expect(failed).toEqual(['a'])
})
