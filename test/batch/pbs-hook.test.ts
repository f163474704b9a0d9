/** OpenPBS's hook, run by python3 with a played `pbs` module: what it makes of each event. */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tempFolder } from '../harness/temp.ts'
import { playHook } from './played-pbs/play.ts'

const settings = { starter: '/usr/local/lib/wnod/wnod-pbs', types: ['el9', 'debian12'] }
const launch = { event: 'EXECJOB_LAUNCH', job: '7.server', progname: '/bin/bash', argv: ['/bin/bash'], env: { A: '1' } } as const

test('the command of a job with a type becomes the arguments of the starter', () => {
  const made = playHook({ ...launch, argv: ['/bin/bash', '-x', ''], resources: { vm: 'el9' } }, settings)
  expect(made).toMatchObject({ is: 'accepted', progname: settings.starter, argv: [settings.starter, '/bin/bash', '-x', ''], env: { A: '1', WNOD_TYPE: 'el9' } })
})

test.each([[{}], [{ undefined: 'vm' }]])('a job without type passes as it came, also where the site has no such resource: %j', (given) => {
  expect(playHook({ ...launch, ...given }, settings)).toMatchObject({ is: 'accepted', progname: '/bin/bash', argv: ['/bin/bash'], env: { A: '1' } })
})

test('with `default`, jobs without type go to a VWN as the mapping says', () => {
  const made = playHook(launch, { ...settings, default: true })
  expect(made).toMatchObject({ argv: [settings.starter, '/bin/bash'], env: { A: '1' } })
})

test('a job of ours whose hook fails is queued again, and not run outside', () => {
  expect(playHook({ ...launch, argv: null, resources: { vm: 'el9' } }, settings)).toMatchObject({ is: 'rejected', rerun: true })
})

test.each([
  ['el9', 'accepted'], ['el8', 'rejected'], ['', 'rejected'], ['el9; id', 'rejected'], ['el9\n', 'rejected'], ['$(id)', 'rejected'], ['../el9', 'rejected'],
])('submission with vm=%j is %s', (vm, is) => {
  expect(playHook({ event: 'QUEUEJOB', job: '', resources: { vm } }, settings)).toMatchObject({ is })
})

test('submission names the types that there are', () => {
  expect(playHook({ event: 'QUEUEJOB', job: '', resources: { vm: 'el8' } }, settings).message).toBe('wnod: there is no VWN type of this name; there are el9, debian12')
  expect(playHook({ event: 'QUEUEJOB', job: '', resources: { vm: 'el8' } }, { ...settings, types: null })).toMatchObject({ is: 'accepted' })
})

/** A `wnod` that notes how it was called and says this. */
async function noted(says: string, code = 0) {
  const folder = await tempFolder()
  const wnod = join(folder.path, 'wnod')
  writeFileSync(wnod, `#!/bin/sh\nprintf '[%s]' "$@" >>'${folder.path}/calls'\nprintf '${says}'\nexit ${code}\n`)
  chmodSync(wnod, 0o755)
  return { wnod, calls: join(folder.path, 'calls'), [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

test.each([
  ['EXECJOB_EPILOGUE', '[hook][release]'], ['EXECJOB_END', '[hook][release]'],
  ['EXECJOB_POSTSUSPEND', '[hook][control][suspend]'], ['EXECJOB_PRERESUME', '[hook][control][resume]'],
])('%s tells the bait', async (event, words) => {
  await using bait = await noted('', 1) // what goes wrong there is no reason to fail
  expect(playHook({ event, job: '7[3].server', resources: { vm: 'el9' } }, { ...settings, wnod: bait.wnod })).toMatchObject({ is: 'accepted' })
  expect(readFileSync(bait.calls, 'utf8')).toBe(`${words}[--batch-system][pbs][--batch-job-id][7[3].server]`)
})

test('what a host can offer becomes resources of its vnode, and nothing else does', async () => {
  await using bait = await noted('vm_el9=2\\nvm_debian12=0\\nncpus=99\\nvm_x=many\\n')
  expect(playHook({ event: 'EXECHOST_PERIODIC', job: '' }, { ...settings, wnod: bait.wnod })).toMatchObject({ is: 'accepted', offered: { vm_el9: 2, vm_debian12: 0 } })
})

test('a bait that is not there keeps no job from ending', () => {
  const made = playHook({ event: 'EXECJOB_END', job: '7.server', resources: { vm: 'el9' } }, { ...settings, wnod: '/no/such/wnod' })
  expect(made).toMatchObject({ is: 'accepted', log: [expect.stringContaining('/no/such/wnod') as string] })
})

test('an event that we do not know passes', () => {
  expect(playHook({ event: 'EXECJOB_PRETERM', job: '7.server', resources: { vm: 'el9' } }, settings)).toMatchObject({ is: 'accepted' })
})
