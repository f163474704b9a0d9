import { chmodSync, existsSync, mkdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Context } from '../../cli/context.ts'
import { link, lineIn, listed, mark, ownFile, type Change } from '../../cli/install/change.ts'
import { install } from '../../cli/install/install.ts'
import { beforeReturn, jobSubmitLine } from '../../cli/install/slurm.ts'
import { roll } from '../../cli/table.ts'
import { tempFolder } from '../harness/temp.ts'

const said: string[] = []
const context = { json: false, ...roll, print: (text: string) => void said.push(text) } as Context

test('changes are made once, shown, checked and taken back, and what was there stays as it was', async () => {
  await using folder = await tempFolder()
  const at = (name: string): string => join(folder.path, name)
  writeFileSync(at('theirs.conf'), 'first\nsecond')
  chmodSync(at('theirs.conf'), 0o640)
  const changes = [ownFile(at('etc/wnod.conf'), `# ${mark}\nx\n`, 0o644), lineIn(at('theirs.conf'), 'include wnod.conf'), lineIn(at('new.conf'), 'only line'), link(at('bin/wnod-slurm'), '/opt/wnod/wnod-starter')]
  await install(context, 'slurm', changes, { dryRun: true })
  expect(said.pop()).toContain('WOULD BE')
  expect(existsSync(at('etc/wnod.conf'))).toBe(false)
  await expect(install(context, 'slurm', changes, { check: true })).rejects.toMatchObject({ code: 'INSTALL_INCOMPLETE', facts: { missing: 4 } })
  for (const _twice of [1, 2]) {
    await install(context, 'slurm', changes, {})
    expect(readFileSync(at('theirs.conf'), 'utf8')).toBe('first\nsecond\ninclude wnod.conf\n')
    expect(statSync(at('theirs.conf')).mode & 0o7777).toBe(0o640)
    expect(readlinkSync(at('bin/wnod-slurm'))).toBe('/opt/wnod/wnod-starter')
  }
  await install(context, 'slurm', changes, { check: true })
  for (const _twice of [1, 2]) await install(context, 'slurm', changes, { undo: true })
  expect(readFileSync(at('theirs.conf'), 'utf8')).toBe('first\nsecond\n')
  expect(['etc', 'new.conf', 'bin/wnod-slurm'].filter((name) => existsSync(at(name)))).toEqual([])
})

test.each<[string, (path: string) => void, (path: string) => Change]>([
  ['a file', (path) => writeFileSync(path, 'mine\n'), (path) => ownFile(path, `# ${mark}\n`, 0o644)],
  ['a file in the place of a link', (path) => writeFileSync(path, 'mine\n'), (path) => link(path, '/x')],
  ['a folder', (path) => void mkdirSync(path), (path) => lineIn(path, 'x')],
])('%s of somebody else is refused before anything is changed', async (_what, put, change) => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'theirs')
  put(path)
  const first = ownFile(join(folder.path, 'first'), `# ${mark}\n`, 0o644)
  await expect(install(context, 'slurm', [first, change(path)], {})).rejects.toMatchObject({ code: expect.stringMatching(/^(INSTALL_FOREIGN_FILE|FILE_UNREADABLE)$/) as string })
  expect(existsSync(join(folder.path, 'first'))).toBe(false)
})

test('an older one of ours is replaced, a link that points elsewhere is left when ours is taken back', async () => {
  await using folder = await tempFolder()
  const [file, to] = [join(folder.path, 'wnod.conf'), join(folder.path, 'wnod-slurm')]
  writeFileSync(file, `# ${mark}\nold\n`)
  symlinkSync('/elsewhere', to)
  await install(context, 'slurm', [ownFile(file, `# ${mark}\nnew\n`, 0o600)], {})
  expect(readFileSync(file, 'utf8')).toContain('new')
  await install(context, 'slurm', [link(to, '/x')], { undo: true })
  expect(readlinkSync(to)).toBe('/elsewhere')
})

test('a line of ours replaces the one that was ours before, and goes though it is the older one', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'plugstack.conf')
  writeFileSync(path, 'required /a.so\n')
  const line = (word: string): Change => lineIn(path, `required /b.so default=${word}`, { isOlder: (other) => other.split(' ')[1] === '/b.so' })
  for (const word of ['none', 'mapping']) await install(context, 'slurm', [line(word)], {})
  expect(readFileSync(path, 'utf8')).toBe('required /a.so\nrequired /b.so default=mapping\n')
  await expect(install(context, 'slurm', [line('none')], { check: true })).rejects.toMatchObject({ code: 'INSTALL_INCOMPLETE' })
  await install(context, 'slurm', [line('none')], { undo: true })
  expect(readFileSync(path, 'utf8')).toBe('required /a.so\n')
})

test.each([
  ['', 'ours\n', ''],
  ['function f()\n  return 1\nend\n', 'function f()\n  return 1\nend\nours\n'],
  ['function f() end\nreturn slurm.SUCCESS\n\n-- the end\n', 'function f() end\nours\nreturn slurm.SUCCESS\n\n-- the end\n'],
  ['f = 1', 'f = 1\nours\n', 'f = 1\n'],
  ['return 0', 'ours\nreturn 0\n', 'return 0\n'],
])('a line goes before the last `return` of a Lua script: %j', async (before, after, back = before) => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'job_submit.lua')
  if (before !== '') writeFileSync(path, before)
  const change = lineIn(path, 'ours', { before: beforeReturn })
  for (const _twice of [1, 2]) await install(context, 'slurm', [change], {})
  expect(readFileSync(path, 'utf8')).toBe(after)
  await install(context, 'slurm', [change], { undo: true })
  expect(existsSync(path) ? readFileSync(path, 'utf8') : '').toBe(back)
})

test('a line of job_submit.lua has words that end no string of it', () => {
  expect(jobSubmitLine('/ours.lua', 'a'.repeat(64), { starter: '/opt/wnod/dist/wnod-starter', default: 'none', partition: undefined }))
    .toBe('assert(loadfile("/ours.lua")) { starter = "/opt/wnod/dist/wnod-starter", default = "none" } -- made by `wnod install`: aaaaaaaaaaaa')
  for (const bad of ['a"b', 'a\\', 'a\nb', 'a b', '$(id)']) expect(() => jobSubmitLine('/ours.lua', '', { default: bad })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
})

test.each([
  ['', 'RequeueExit=75 # 75 made by `wnod install`\n'],
  ['A=1\n', 'A=1\nRequeueExit=75 # 75 made by `wnod install`\n'],
  ['requeueexit = 12,13\nB=2\n', 'RequeueExit=12,13,75 # 75 made by `wnod install`\nB=2\n', 'RequeueExit=12,13\nB=2\n'],
  ['RequeueExit=12 # theirs\n', 'RequeueExit=12,75 # theirs; 75 made by `wnod install`\n'],
  ['RequeueExitHold=9\nRequeueExit=75\n', 'RequeueExitHold=9\nRequeueExit=75\n'],
  ['#RequeueExit=1\n', '#RequeueExit=1\nRequeueExit=75 # 75 made by `wnod install`\n'],
])('an item of a list: %j', async (before, after, back = before) => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'slurm.conf')
  writeFileSync(path, before)
  let told = 0
  const change = listed(path, 'RequeueExit', '75', async () => void (told += 1))
  for (const _twice of [1, 2]) await install(context, 'slurm', [change], {})
  expect(readFileSync(path, 'utf8')).toBe(after)
  for (const _twice of [1, 2]) await install(context, 'slurm', [change], { undo: true })
  expect(readFileSync(path, 'utf8')).toBe(back)
  expect(told).toBe(before === after ? 0 : 2)
})
