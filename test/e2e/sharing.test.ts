/** Two users of one group, one after the other in one VWN; and what is certified to each. */
import { expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { receiptSchema, vwnsReplySchema } from '../../wire/api.ts'
import { scrubChecks } from '../../wire/guest.ts'
import { startFarm } from '../harness/farm.ts'

const mapping = `
types: { shared: { image: debian12, memory_mib: 512, scratch_gib: 4, reuse: same-group } }
default: { type: shared }
`
/** Debian's users of group nogroup. */
const [first, second] = ['nobody', 'sync']
const leave = 'echo mine > /tmp/planted; echo mine > ~/planted; (setsid sleep 9999 > /dev/null 2>&1 &); ipcmk -M 4096 > /dev/null; id -un'
const look = 'ls -A /tmp /var/tmp /dev/shm ~ | grep planted; ls /home; pgrep -x sleep; tail -n +2 /proc/sysvipc/shm; id -un'

test('a group shares a VWN, and each of its jobs is told that it was clean', async () => {
  await using farm = await startFarm({ mapping, templates: 8 })
  const one = await farm.run(['bash', '-c', leave], { as: first })
  expect(one).toMatchObject({ code: 0, stdout: `${first}\n`, report: { reused: false } })
  const two = await farm.run(['bash', '-c', look], { as: second })
  expect(two).toMatchObject({ code: 0, stdout: `${second}\n${second}\n`, report: { reused: true, vwn: one.report?.vwn } })

  /** The controller has it as soon as the bait has said that the job has ended. */
  const receipt = (job: string | null | undefined) =>
    until(async () => receiptSchema.parse(JSON.parse((await farm.cli(['receipt', job ?? '', '--json'])).stdout)).scrubReceipt, { withinMs: 30_000, what: 'a receipt' })
  const [fresh, reused] = [await receipt(one.report?.job), await receipt(two.report?.job)]
  expect(fresh).toMatchObject({ made: 'clone', policy: 'same-group', jobsBefore: 0, before: 'nobody', scrub: null })
  expect(reused).toMatchObject({ image: fresh.image, overlay: fresh.overlay, jobsBefore: 1, before: 'same-group', scrub: { checked: [...scrubChecks] } })
  const shown = (await farm.cli(['receipt', two.report?.job ?? ''])).stdout
  expect(shown).toMatch(/^before it +1 job: jobs of the same group$/m)
  expect(shown).toMatch(/^scrubbed +.*: nothing left$/m)
  const vwns = await farm.cli(['vwns'])
  expect(vwns.stdout).toMatch(/group nogroup +same-group/)
  expect(vwnsReplySchema.parse(JSON.parse((await farm.cli(['vwns', '--json'])).stdout)).vwns).toMatchObject([{ owner: { user: first }, reuse: 'same-group' }])
  if (process.env['WNOD_SHOW'] !== undefined) process.stderr.write(`${shown}\n${vwns.stdout}\n${(await farm.cli(['types'])).stdout}`)
})
