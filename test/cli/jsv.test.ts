/** The verifier of submitted jobs, as qmaster talks to it (jsv(1)): several jobs over one pair of pipes. */
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { expect, test } from 'vitest'
import { tempFolder } from '../harness/temp.ts'

/** What it answers about each of these jobs, the lines of its parameters. */
async function judged(...jobs: readonly (readonly string[])[]): Promise<readonly string[]> {
  await using folder = await tempFolder()
  const file = join(folder.path, 'jsv.sh')
  symlinkSync(join(import.meta.dirname, '../../hooks/gridengine/jsv.sh'), file)
  writeFileSync(join(folder.path, 'wnod-gridengine.env'), '# ours\nWNOD_HOME=/x\nWNOD_TYPES=debian12 el9.big *\nWNOD_RESOURCES=vm_debian12=debian12 vm_el9_big=el9.big\n')
  const input = [...jobs.flatMap((params) => ['START', ...params, 'BEGIN']), 'QUIT', ''].join('\n')
  const { stdout, stderr } = await execa(file, { input, cwd: folder.path })
  expect(stderr).toBe('')
  return stdout.split('STARTED').slice(1).map((answer) => answer.trim())
}

const corrected = (hard: string, type: string): string => `PARAM l_hard ${hard}\nENV ADD WNOD_TYPE ${type}\nRESULT STATE CORRECT`

test('a type becomes a variable of the job and a queue that has VWNs; what else it asks for stays', async () => {
  expect(await judged(
    ['PARAM VERSION 1.0', 'PARAM CLIENT qsub', 'PARAM l_hard h_rt=60,vm=debian12,arch=lx-*'],
    ['PARAM l_hard vm=debian12'],
    ['PARAM l_hard vm=el9.big'],
  )).toEqual([corrected('h_rt=60,arch=lx-*,vm=any', 'debian12'), corrected('vm=any', 'debian12'), corrected('vm=any', 'el9.big')])
})

test('other jobs pass, and one job’s words are not the next one’s', async () => {
  expect(await judged([], ['PARAM l_hard vm=debian12'], [], ['PARAM l_hard vmem=1G,mem_free=vm=1'])).toEqual(['RESULT STATE ACCEPT', corrected('vm=any', 'debian12'), 'RESULT STATE ACCEPT', 'RESULT STATE ACCEPT'])
})

test('who asks for room asks for the type that has it, unless he names another', async () => {
  expect(await judged(
    ['PARAM l_hard vm_el9_big=1'],
    ['PARAM l_hard h_rt=60,vm_debian12=1,vm=el9.big'],
    ['PARAM l_hard vm_other=1'],
  )).toEqual([corrected('vm_el9_big=1,vm=any', 'el9.big'), corrected('h_rt=60,vm_debian12=1,vm=any', 'el9.big'), 'RESULT STATE ACCEPT'])
})

test('a type that there is not is refused with those that there are', async () => {
  for (const type of ['nosuch', 'debian1', '$(id)', '`id`;', 'debian12 el9.big', '-n', '\\c', '%s']) {
    expect(await judged([`PARAM l_hard vm=${type}`])).toEqual([`RESULT STATE REJECT there is no VWN type ${type}; there are: debian12 el9.big *`])
  }
  expect((await judged(['PARAM l_soft vm=debian12']))[0]).toMatch(/^RESULT STATE REJECT say -hard -l vm=debian12/)
})
