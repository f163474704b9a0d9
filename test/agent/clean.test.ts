import { existsSync, readdirSync } from 'node:fs'
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { run } from '../../kit/command.ts'
import { until } from '../../kit/until.ts'
import { describeAgent, startAgent } from './harness.ts'

describeAgent('the scrub', 60_000, (suite) => {
  const job = async (script: string, uid = 4242) => {
    const ended = await (await suite.agent.run({ argv: ['bash', '-c', script], uid, user: uid === 0 ? 'root' : 'ada', env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] })).over
    expect([ended.exited?.code, ended.stderr.toString()]).toEqual([0, ''])
    return ended.stdout.toString().trim()
  }

  test('a guest that ran nothing is clean, and says where it looked', async () => {
    const { left, checked } = await suite.agent.clean()
    expect(left).toEqual([])
    expect(checked).toEqual(['processes', 'cgroups', 'mounts', 'ipc', 'keys', 'files', 'upper', 'sockets', 'memory'])
  })

  test('files in every scratch place, the home among them, are gone', async () => {
    const tmp = join(suite.agent.folder, 'tmp')
    await job(`mkdir -p ${tmp}/a/b && echo x > ${tmp}/a/b/c && chmod 000 ${tmp}/a && touch /var/tmp/f /dev/shm/s h ${tmp}/$'odd\\nname'`)
    expect(existsSync(join(suite.agent.folder, 'home/ada/h'))).toBe(true)
    expect((await suite.agent.clean()).left).toEqual([])
    expect(existsSync(join(suite.agent.folder, 'home/ada'))).toBe(false)
    expect(await job('pwd; ls -A')).toBe(join(suite.agent.folder, 'home/ada'))
  })

  test('the next user of a shared VWN finds nothing of the one before, not even his name', async () => {
    const of = async (user: string, uid: number) => {
      const file = (name: string) => `$(cat ${suite.agent.folder}/etc/${name})`
      const ended = await (await suite.agent.run({
        argv: ['bash', '-c', `echo "${file('passwd')} ${file('group')}"; ls ${suite.agent.folder}/home; touch mine`], uid, user, groups: [{ gid: 5000 + uid, name: `of-${user}` }],
      })).over
      expect(ended.exited?.code).toBe(0)
      expect((await suite.agent.clean()).left).toEqual([])
      return ended.stdout.toString()
    }
    const [first, second, third] = [await of('ada', 4242), await of('ben', 4243), await of('ada', 4242)]
    expect([/ada/.test(first), /ben/.test(first)]).toEqual([true, false])
    expect([/ada/.test(second), /ben/.test(second)]).toEqual([false, true])
    expect(third).toBe(first)
  })

  test('names of any bytes and folders of any depth are gone', async () => {
    const tmp = join(suite.agent.folder, 'tmp')
    await job(`mkdir ${tmp}/$'\\xff\\n' && touch ${tmp}/$'\\xff\\n'/$'\\x80' h && perl -e 'for (1 .. 3000) { mkdir "d" x 200; chdir "d" x 200 } mkdir "side"; open F, ">", "end"'`)
    expect((await suite.agent.clean()).left).toEqual([])
    expect([readdirSync(tmp), existsSync(join(suite.agent.folder, 'home/ada'))]).toEqual([[], false])
  })

  test('System V objects are gone', async () => {
    await job('ipcmk -M 4096; ipcmk -S 2; ipcmk -Q')
    const { left } = await suite.agent.clean()
    expect(left).toEqual([])
    expect(await job('tail -qn +2 /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg')).toBe('')
  })

  test('a process that has left its session and its cgroup, and its listener, are gone', async () => {
    // Only root can leave the cgroup; a job of root may.
    const script = `echo $$ > ${suite.agent.settings.cgroups}/../cgroup.procs; (setsid node -e 'require("net").createServer().listen(0, "127.0.0.1", () => require("fs").writeFileSync("${suite.agent.folder}/listening", ""))' < /dev/null > /dev/null 2>&1 &)`
    await job(script, 0)
    await until(() => existsSync(join(suite.agent.folder, 'listening')), { withinMs: 20_000, what: 'listener' })
    const { left } = await suite.agent.clean()
    expect(left).toEqual([])
  })

  test.each([
    ['tcp', `socket($s, PF_INET, SOCK_STREAM, 0); bind($s, pack_sockaddr_in(7777, INADDR_ANY)); listen($s, 1)`, 'tcp port 7777'],
    ['tcp6', `socket($s, PF_INET6, SOCK_STREAM, 0); bind($s, pack_sockaddr_in6(7778, IN6ADDR_ANY)); listen($s, 1)`, 'tcp6 port 7778'],
    ['udp', `socket($s, PF_INET, SOCK_DGRAM, 0); bind($s, pack_sockaddr_in(7779, INADDR_ANY))`, 'udp port 7779'],
    ['udp6', `socket($s, PF_INET6, SOCK_DGRAM, 0); bind($s, pack_sockaddr_in6(7780, IN6ADDR_ANY))`, 'udp6 port 7780'],
    ['udplite', `socket($s, PF_INET, SOCK_DGRAM, 136); bind($s, pack_sockaddr_in(7781, INADDR_ANY))`, 'udplite port 7781'],
    ['raw', `socket($s, PF_INET, SOCK_RAW, 1)`, 'raw port 1'],
  ])('a socket of kind %s that nobody ends is named', async (kind, open, named) => {
    // Taken for our ssh server, so that it is no stranger; and out of its cgroup, as a job of root can be.
    await using other = await startAgent(suite.programs, { sshd: '/usr/bin/perl' })
    await other.identify()
    const sign = join(other.folder, 'open')
    const script = `echo $$ > ${other.settings.cgroups}/../cgroup.procs; (setsid perl -MSocket=:all -e 'our $s; ${open}; open F, ">", "${sign}"; close F; sleep 9999' < /dev/null > /dev/null 2>&1 &)`
    await (await other.run({ argv: ['bash', '-c', script], uid: 0, user: 'root' })).over
    await until(() => existsSync(sign), { withinMs: 20_000, what: `a socket of kind ${kind}` })
    expect((await other.clean()).left).toEqual([`sockets: ${named}`])
  })

  test('where something stays mounted nothing is emptied, for it may be the farm\'s', async () => {
    const place = join(suite.agent.folder, 'tmp', 'of\nthe farm')
    await job(`mkdir '${place}' && mount -t tmpfs x '${place}' && echo data > '${place}/f'`, 0)
    expect((await suite.agent.clean()).left.filter((what) => what.startsWith('mounts: '))).toHaveLength(1)
    expect(await job(`cat '${place}/f'; umount '${place}'`, 0)).toBe('data')
    expect((await suite.agent.clean()).left).toEqual([])
  })

  test('a file system that cannot be mounted is named, and leaves no trace', async () => {
    const at = join(suite.agent.folder, 'srv/shared/deep')
    const { failed } = await (await suite.agent.run({ argv: ['true'], mounts: [{ source: 'filer:/export', port: 1, at, readOnly: false, options: '' }] })).over
    expect(failed).toMatchObject({ step: 'mount', message: expect.stringContaining(`filer:/export at ${at}: `) as string })
    expect((await suite.agent.clean()).left).toEqual([])
    expect(existsSync(join(suite.agent.folder, 'srv/shared'))).toBe(false)
  })

  test('mounts that a job made are gone', async () => {
    const place = join(suite.agent.folder, 'tmp/m n')
    await job(`mkdir '${place}' && mount -t tmpfs x '${place}' && mkdir '${place}/inner' && mount -t tmpfs y '${place}/inner' && touch '${place}/inner/f'`, 0)
    expect((await suite.agent.clean()).left).toEqual([])
  })

  test('what cannot be removed is named', async () => {
    const stubborn = join(suite.agent.folder, 'tmp-fixed')
    await run('mkdir', [stubborn])
    await using other = await startAgent(suite.programs, { scratch: [stubborn] })
    await other.identify()
    await writeFile(join(stubborn, 'file'), '')
    await writeFile(join(suite.agent.folder, 'upper-file'), '')
    await run('mount', ['--bind', '-o', 'ro', stubborn, stubborn])
    await run('mount', ['-o', 'remount,bind,ro', stubborn])
    try {
      await using readOnly = await startAgent(suite.programs, { scratch: [stubborn] })
      await readOnly.identify()
      expect((await readOnly.clean()).left).toEqual([`files: ${join(stubborn, 'file')}`])
    } finally {
      await run('umount', [stubborn])
    }
    expect((await other.clean()).left).toEqual([])
  })

  test('a file elsewhere in the root is named', async () => {
    await writeFile(join(suite.agent.folder, 'upper/planted'), '')
    expect((await suite.agent.clean()).left).toEqual(['upper: /planted'])
  })

  test('an empty folder elsewhere in the root is named, a folder of bytes that are no UTF-8 is looked into', async () => {
    await rm(join(suite.agent.folder, 'upper/planted'))
    await mkdir(join(suite.agent.folder, 'upper/srv/planted'), { recursive: true })
    await run('sh', ['-c', `mkdir "$(printf 'var\\377')" && touch "$(printf 'var\\377')/planted"`], { cwd: join(suite.agent.folder, 'upper') })
    expect([...(await suite.agent.clean()).left].sort()).toEqual(['upper: /srv/planted/', 'upper: /var\ufffd/planted'])
    await run('sh', ['-c', 'rm -r ./*'], { cwd: join(suite.agent.folder, 'upper') })
  })

  test('what is too deep or too much to be listed is named all the same', async () => {
    const upper = join(suite.agent.folder, 'upper')
    await mkdir(join(upper, 'srv', ...Array<string>(300).fill('d')), { recursive: true })
    expect(await suite.agent.clean()).toMatchObject({ left: [expect.stringMatching(/^upper: \/srv(\/d){199}\/$/)] })
    await run('sh', ['-c', 'rm -r srv; mkdir srv; seq -f "srv/%0200g" 6000 | xargs touch'], { cwd: upper })
    expect((await suite.agent.clean()).left).toHaveLength(256)
    await run('sh', ['-c', 'rm -r ./*'], { cwd: upper })
    expect((await suite.agent.clean()).left).toEqual([])
  })

  test('files that the agent wrote are named when they hold another text, and so is a file beside its socket', async () => {
    await job('true')
    await job('true', 0)
    await appendFile(join(suite.agent.folder, 'etc/passwd'), 'toor::0:0::/:/bin/sh\n')
    await writeFile(join(suite.agent.folder, 'run/ssh/authorized_keys'), 'planted\n')
    await writeFile(join(suite.agent.folder, 'run/planted'), '')
    expect([...(await suite.agent.clean()).left].sort()).toEqual([
      `agent: ${suite.agent.folder}/etc/passwd`, `agent: ${suite.agent.folder}/run/ssh/authorized_keys`, `bare: ${suite.agent.folder}/run/planted`,
    ])
  })

  test('a scrub ends a job that still runs', async () => {
    const task = await suite.agent.run({ argv: ['sleep', '1000'] })
    await task.heard('started')
    await suite.agent.clean()
    expect((await task.over).exited).toMatchObject({ signal: 'SIGKILL' })
  })
})
