/** Slurm without a compiled plugin: job_submit.lua hands batch scripts over. No farm is there, so the starter becomes every job, on the host itself. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { run, type CommandResult } from '../../kit/command.ts'
import { compared } from './compared.ts'
import { startSlurmAlone, type Slurm } from './slurm.ts'

const wnod = join(import.meta.dirname, '../../bin/wnod.js')
const site = 'function slurm_job_submit(job_desc)\n  if job_desc.name == "unwanted" then return slurm.ERROR end\n  return slurm.SUCCESS\nend\nfunction slurm_job_modify() return slurm.SUCCESS end\nreturn slurm.SUCCESS\n'
let slurm: Slurm

const install = (...options: readonly string[]): Promise<CommandResult> =>
  run(process.execPath, [wnod, 'install', 'slurm', '--without-plugin', '--home', slurm.folder, '--scripts', join(slurm.folder, 'scripts'), '--unreachable', 'bare', ...options], { env: slurm.environment as Record<string, string> })
const files = (): readonly string[] => ['etc/slurm.conf', 'etc/job_submit.lua'].map((name) => readFileSync(join(slurm.folder, name), 'utf8'))
let before: readonly string[]

beforeAll(async () => {
  slurm = await startSlurmAlone('--comment=for the record; vm=debian12')
  writeFileSync(join(slurm.folder, 'etc/job_submit.lua'), site)
  before = files()
  await install('--default', 'mapping', '--partition', 'bait')
}, 60_000)
afterAll(() => slurm?.[Symbol.asyncDispose](), 60_000)

compared('slurm', () => slurm, {
  where: 'on the host itself',
  names: [
    'code 42 with output', 'death by SEGV', 'a signal that the job handles', 'with a handler that ends it', 'by the administrator', 'each task its own code',
    'spaces and quotes', 'what a shell would expand', 'a name of the job that is hostile', 'nothing of ours', 'perl', 'one that reads itself', 'its own name and place', 'options after the interpreter', 'no last line end',
  ],
})

const submit = (...words: readonly string[]) => slurm.user('sbatch', ['--parsable', '-D', '/tmp', '-o', '/dev/null', ...words])

test('only what asks for it, or is in a partition that is ours, has our first line; the script itself is kept', async () => {
  const scriptOf = async (...words: readonly string[]): Promise<string> => {
    const id = (await submit('--hold', ...words, '--wrap', 'echo "$0" 100% \\\\n')).stdout.trim()
    const { stdout } = await slurm.admin('scontrol', 'write', 'batch_script', id, '-')
    await slurm.user('scancel', [id])
    return stdout.trimEnd()
  }
  const plain = await scriptOf('-p', 'bare')
  expect(plain).toMatch(/^#!\/bin\/sh\n/)
  const starter = /^#!\/\S*\/wnod-starter --slurm-batch\n/
  for (const words of [['-p', 'bait'], ['-p', 'bare,bait'], [], ['-p', 'bare', '--comment=x,vm=el9']]) expect((await scriptOf(...words)).replace(starter, 'ours ')).toBe(`ours ${plain}`)
})

test.each(['$(touch /tmp/hostile)', '../etc', "';os.execute('touch /tmp/hostile')--", '"]]', '%s%n', '', 'a'.repeat(65), '-x', '`id`', 'ä'])('vm=%j in the comment is refused, and nothing of it is executed', async (type) => {
  const { code, stdout, stderr } = await submit(`--comment=vm=${type}`, '--wrap', 'true')
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toContain('wnod: vm= in the comment wants the name of a VWN type')
  expect(readdirSync('/tmp')).not.toContain('hostile')
})

test('what has no script is refused where it would be ours, and runs as it would be without us elsewhere', async () => {
  for (const words of [['-p', 'bare', '--comment=vm=el9'], ['-p', 'bait']]) {
    const { code, stdout, stderr } = await slurm.user('srun', ['-D', '/tmp', ...words, 'echo', 'ran'])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('use sbatch, not srun or salloc')
  }
  expect(await slurm.user('srun', ['-D', '/tmp', '-p', 'bare', 'echo', 'ran'])).toMatchObject({ code: 0, stdout: 'ran\n' })
})

test('what the site itself decides stays decided', async () => {
  expect(await submit('-J', 'unwanted', '-p', 'bait', '--wrap', 'true')).toMatchObject({ code: 1, stdout: '' })
})

test('it is made once, checked, not beside the plugin, and taken back exactly', async () => {
  expect((await install('--default', 'mapping', '--partition', 'bait', '--check')).stdout).not.toContain('not made')
  const made = files()
  await install('--default', 'mapping', '--partition', 'bait')
  expect(files()).toEqual(made)
  const plugin = run(process.execPath, [wnod, 'install', 'slurm', '--home', slurm.folder], { env: slurm.environment as Record<string, string> })
  await expect(plugin).rejects.toMatchObject({ facts: { stderr: expect.stringContaining('wnod install slurm --without-plugin --undo') as string } })
  await install('--undo')
  expect(files()).toEqual(before)
  expect(readdirSync(slurm.folder)).not.toContain('scripts')
  expect(await slurm.user('srun', ['-D', '/tmp', '-p', 'bait', 'echo', 'ran'])).toMatchObject({ code: 0, stdout: 'ran\n' })
})
