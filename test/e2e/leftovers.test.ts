/** The harness's own assertion, put to use: leaving the scope fails when a process, a file or a control group of the farm is left. */
import { expect, test } from 'vitest'
import { startFarm } from '../harness/farm.ts'
test('vms whose bait is dead are gone with the farm', async () => {
  await using farm = await startFarm({ baits: 1, templates: 8 })
  expect(await farm.run(['true'], { options: ['--type', 'tiny'] })).toMatchObject({ code: 0 })
  await farm.kill('bait-h1')
  await farm.kill('controller')
  expect(farm.vms().length).toBe(1)
})
