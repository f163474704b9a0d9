import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { scriptBytesMax } from '../../core/script-path.ts'
import { describeAgent, type Ended, type Wish } from './harness.ts'

/** In a folder that is empty in the agent's own mounts. */
const spooled = '/var/spool/slurmd/job00007/slurm_script'

describeAgent('the script of a job', 60_000, (suite) => {
  const base64 = (value: string | Buffer): string => Buffer.from(value).toString('base64')
  const run = async (path: string, content: string | Buffer, args: readonly string[] = [], more: Partial<Wish> = {}): Promise<Ended> =>
    (await suite.agent.run({ argv: [path, ...args], script: { path: base64(path), content: base64(content) }, ...more })).over
  const sh = async (script: string): Promise<string> => (await (await suite.agent.run({ argv: ['sh', '-c', script] })).over).stdout.toString()

  test('is at its path, the user’s own, for him alone, in folders of root', async () => {
    const { stdout, exited } = await run(spooled, '#!/bin/bash\necho "$0|$BASH_SOURCE|$#|$1|$2"\nstat -c "%a %u %g" "$0" "${0%/*}" /var/spool/slurmd\nexit 5\n', ['a b', ''])
    expect(stdout.toString()).toBe(`${spooled}|${spooled}|2|a b|\n700 4242 4242\n755 0 0\n755 0 0\n`)
    expect(exited).toMatchObject({ code: 5 })
  })

  test('is gone with the job, and so are its folders', async () => {
    await run(spooled, '#!/bin/sh\n')
    expect((await suite.agent.clean()).left).toEqual([])
    expect(await sh('ls -A /var/spool')).toBe('')
  })

  test('has its bytes, whatever they are, up to the largest', async () => {
    const tail = Buffer.concat([Buffer.from('\nexit\n'), randomBytes(scriptBytesMax)])
    const content = Buffer.concat([Buffer.from('#!/bin/bash\nsha256sum < "$0"; exit'), tail]).subarray(0, scriptBytesMax)
    expect((await run(spooled, content)).stdout.toString()).toBe(`${createHash('sha256').update(content).digest('hex')}  -\n`)
    expect((await suite.agent.clean()).left).toEqual([])
  })

  test('cannot be removed from the spool, but changed', async () => {
    const { stdout } = await run(spooled, '#!/bin/sh\nrm -f "$0" 2>/dev/null || echo kept\necho "# more" >> "$0" && tail -n 1 "$0"\n')
    expect(stdout.toString()).toBe('kept\n# more\n')
    await suite.agent.clean()
  })

  test('an argument that names it follows it', async () => {
    const path = '/etc/wnod-test-spool/script'
    const { stdout } = await run(path, 'echo "$0" "$1"', [], { argv: ['sh', path, path] })
    const own = join(suite.agent.settings.scratch[0] ?? '', 'wnod-script-')
    expect(stdout.toString()).toMatch(new RegExp(`^(${own}h1-\\d+/script) \\1\n$`))
    expect(existsSync('/etc/wnod-test-spool')).toBe(false)
    expect((await suite.agent.clean()).left).toEqual([])
  })

  const traps: readonly [string, (srv: string) => void, string, readonly string[]][] = [
    ['a file that is there', (srv) => (mkdirSync(join(srv, 'a')), writeFileSync(join(srv, 'a/s'), 'kept')), 'a/s', ['a', 'a/s']],
    ['a folder that is there', (srv) => mkdirSync(join(srv, 'a')), 'a/s', ['a']],
    ['a link on the way', (srv) => (mkdirSync(join(srv, 'real')), symlinkSync('real', join(srv, 'a'))), 'a/b/s', ['a', 'real']],
    ['a link that leads nowhere', (srv) => symlinkSync('nowhere', join(srv, 'a')), 'a/s', ['a']],
    ['a link in a circle', (srv) => symlinkSync('a', join(srv, 'a')), 'a/b/s', ['a']],
    ['a file on the way', (srv) => writeFileSync(join(srv, 'a'), 'kept'), 'a/b/s', ['a']],
    ['a folder of another user', (srv) => (mkdirSync(join(srv, 'a')), chownSync(join(srv, 'a'), 4242, 4242)), 'a/b/s', ['a']],
    ['a folder that all may write', (srv) => (mkdirSync(join(srv, 'a')), chmodSync(join(srv, 'a'), 0o777)), 'a/b/s', ['a']],
  ]
  test.each(traps)('%s is left alone, and the script goes elsewhere', async (_what, make, path, kept) => {
    const srv = join(suite.agent.folder, 'srv')
    make(srv)
    const { stdout, exited } = await run(join(srv, path), '#!/bin/sh\necho "$0"\n')
    expect(exited).toMatchObject({ code: 0 })
    expect(stdout.toString()).toContain('/wnod-script-')
    expect((await suite.agent.clean()).left).toEqual([])
    expect(readdirSync(srv, { recursive: true, encoding: 'utf8' }).sort()).toEqual(kept)
    for (const name of kept) if (name.endsWith('/s')) expect(readFileSync(join(srv, name), 'utf8')).toBe('kept')
    for (const name of readdirSync(srv)) rmSync(join(srv, name), { recursive: true })
  })

  test('a folder that all may write and only owners may remove from is good enough', async () => {
    const srv = join(suite.agent.folder, 'srv')
    mkdirSync(join(srv, 'sticky'))
    chmodSync(join(srv, 'sticky'), 0o1777)
    expect((await run(join(srv, 'sticky/a/s'), '#!/bin/sh\necho "$0"\n')).stdout.toString()).toBe(`${srv}/sticky/a/s\n`)
    expect((await suite.agent.clean()).left).toEqual([])
    expect(readdirSync(join(srv, 'sticky'))).toEqual([])
    rmSync(join(srv, 'sticky'), { recursive: true })
  })
})
