import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { windowBytes } from '../../wire/frames.ts'
import { describeAgent, type Ended, type Wish } from './harness.ts'

describeAgent('a job in the guest', 60_000, (suite) => {
  const ended = async (wish: Wish): Promise<Ended> => (await suite.agent.run(wish)).over
  const sh = (script: string, more: Partial<Wish> = {}): Promise<Ended> => ended({ argv: ['sh', '-c', script], ...more })

  test.each([0, 1, 7, 125, 126, 255])('ends with exit code %i', async (code) => {
    const { exited } = await sh(`exit ${code}`)
    expect(exited).toMatchObject({ code, signal: null })
  })

  test.each(['SIGTERM', 'SIGKILL', 'SIGSEGV', 'SIGUSR1', 'SIGABRT', 'SIGRTMIN+3'])('dies of %s as told', async (signal) => {
    const task = await suite.agent.run({ argv: ['sleep', '1000'] })
    await task.heard('started')
    task.signal(signal)
    expect((await task.over).exited).toMatchObject({ code: null, signal })
  })

  test('a signal reaches the whole process group, and a handler runs', async () => {
    const task = await suite.agent.run({ argv: ['bash', '-c', 'trap "echo caught; exit 3" USR1; echo up; sleep 1000 & wait'] })
    await until(() => task.text('stdout') === 'up\n', { withinMs: 10_000, what: 'job is up' })
    task.signal('SIGUSR1')
    const { exited, stdout } = await task.over
    expect(exited).toMatchObject({ code: 3 })
    expect(stdout.toString()).toBe('up\ncaught\n')
  })

  test('a job that is stopped goes on after CONT', async () => {
    const task = await suite.agent.run({ argv: ['cat'], stdin: 'stream' })
    const { pid } = await task.heard('started')
    expect(pid).toBeGreaterThan(1)
    task.signal('SIGSTOP')
    task.stdin.write(Buffer.from('later\n'))
    task.signal('SIGCONT')
    task.stdin.end()
    expect((await task.over).stdout.toString()).toBe('later\n')
  })

  test('arguments and environment pass as bytes, names and order kept', async () => {
    const odd = Buffer.from([0xff, 0x0a, 0x01, 0x20, 0x27])
    const { stdout } = await ended({ argv: ['printf', '%s|', odd, '', 'ü'] })
    expect(stdout).toEqual(Buffer.concat([odd, Buffer.from('||ü|')]))
    const env = ['PATH=/usr/bin:/bin', Buffer.concat([Buffer.from('ODD='), odd]), 'EMPTY=', 'A=1', 'A=2']
    expect((await ended({ argv: ['env', '-0'], env })).stdout).toEqual(Buffer.concat([Buffer.from('PATH=/usr/bin:/bin\0ODD='), odd, Buffer.from('\0EMPTY=\0A=1\0A=2\0')]))
  })

  test('ten thousand arguments arrive', async () => {
    const { stdout } = await sh('echo $#', { argv: ['sh', '-c', 'echo $#', 'sh', ...Array.from({ length: 10_000 }, String)] })
    expect(stdout.toString()).toBe('10000\n')
  })

  test('uid, gid, groups and umask are the job’s, and passwd knows the user', async () => {
    const groups = [{ gid: 5001, name: 'physics' }, { gid: 100, name: 'people' }]
    const { stdout } = await sh('id -u; id -g; id -G; umask; touch f; stat -c %a f', { groups, umask: 0o027 })
    expect(stdout.toString()).toBe('4242\n4242\n4242 100 5001\n0027\n640\n')
    const passwd = readFileSync(join(suite.agent.folder, 'etc/passwd'), 'utf8')
    expect(passwd).toMatch(/^ada:x:4242:4242::.*\/home\/ada:\/bin\/bash$/m)
    const group = readFileSync(join(suite.agent.folder, 'etc/group'), 'utf8')
    expect(group).toMatch(/^physics:x:5001:ada$/m)
    expect(group).toMatch(/^people:x:100:ada$/m)
    expect(group).not.toMatch(/^users:/m)
  })

  test('a job starts in its directory, else in its home, and HOME and PWD say so', async () => {
    expect((await sh('pwd', { cwd: '/usr' })).stdout.toString()).toBe('/usr\n')
    const home = join(suite.agent.folder, 'home/ada')
    const { stdout } = await ended({ argv: ['/bin/sh', '-c', '/bin/pwd; echo $HOME; echo $PWD; echo $TMPDIR'], cwd: '/no/such', env: ['HOME=/no/home', 'PWD=/no/such', 'TMPDIR=/no/tmp'] })
    expect(stdout.toString()).toBe(`${home}\n${home}\n${home}\n/tmp\n`)
  })

  test('limits and niceness hold', async () => {
    const limits = [{ name: 'core' as const, soft: 0, hard: 0 }, { name: 'nofile' as const, soft: 100, hard: 200 }, { name: 'fsize' as const, soft: null, hard: null }]
    const { stdout } = await sh('ulimit -c; ulimit -n; ulimit -Hn; ulimit -f; nice', { argv: ['bash', '-c', 'ulimit -c; ulimit -n; ulimit -Hn; ulimit -f; nice'], limits, nice: 5 })
    expect(stdout.toString()).toBe('0\n100\n200\nunlimited\n5\n')
  })

  test('a command that cannot be run ends as in a shell', async () => {
    expect(await ended({ argv: ['no-such-command'] })).toMatchObject({ started: true, exited: { code: 127 } })
    const { exited, stderr } = await ended({ argv: ['/etc/passwd'] })
    expect(exited).toMatchObject({ code: 126 })
    expect(stderr.toString()).toMatch(/\/etc\/passwd: Permission denied/)
  })

  test('a description that cannot be is a failed start', async () => {
    const { failed, started } = await ended({ argv: ['true'], user: 'x', uid: 4243, limits: [{ name: 'nproc', soft: 5, hard: 2 }] })
    expect(started).toBe(false)
    expect(failed).toMatchObject({ step: 'limits' })
  })

  test('stdout and stderr are pipes of their own that can be opened again; or one in exact order', async () => {
    const apart = await sh('echo out > /dev/stdout; echo err > /dev/stderr; stat -L -c %F /dev/stdout')
    expect([apart.stdout.toString(), apart.stderr.toString()]).toEqual(['out\nfifo\n', 'err\n'])
    const one = await sh('echo 1; echo 2 >&2; echo 3; echo 4 >&2', { stderr: 'stdout' })
    expect(one.stdout.toString()).toBe('1\n2\n3\n4\n')
    expect((await sh('readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; ls /proc/self/fd | wc -l', { stderr: 'null' })).stdout.toString()).toMatch(/^\/dev\/null\npipe:\[\d+\]\n\/dev\/null\n4\n$/)
  })

  test('closed files stay closed, whatever the others are', async () => {
    const open = 'n=0; for f in 0 1 2; do n=$((n*2)); [ -h /proc/$$/fd/$f ] && n=$((n+1)); done; exit $n'
    const codeOf = async (more: Partial<Wish>): Promise<unknown> => (await sh(open, more)).exited?.code
    expect(await codeOf({})).toBe(7)
    expect(await codeOf({ stdin: 'closed' })).toBe(3)
    expect(await codeOf({ stdin: 'closed', stdout: 'null' })).toBe(3)
    expect(await codeOf({ stdin: 'stream', stdout: 'closed', stderr: 'null' })).toBe(5)
    expect(await codeOf({ stdin: 'closed', stdout: 'closed', stderr: 'closed' })).toBe(0)
  })

  test('signals are ignored as told, and no others', async () => {
    const ignoredOf = async (ignored: number[]): Promise<string> => (await ended({ argv: ['grep', 'SigIgn', '/proc/self/status'], ignored })).stdout.toString()
    expect(await ignoredOf([])).toBe('SigIgn:\t0000000000000000\n')
    expect(await ignoredOf([1, 13, 20, 37, 64])).toBe('SigIgn:\t8000001000081001\n')
  })

  test('stdin arrives whole and ends', async () => {
    const bytes = Buffer.alloc(3 * windowBytes + 12_345, 'wnod')
    const task = await suite.agent.run({ argv: ['cat'], stdin: 'stream' })
    task.stdin.write(bytes)
    task.stdin.end()
    const { stdout, exited } = await task.over
    expect(stdout.equals(bytes)).toBe(true)
    expect(exited).toMatchObject({ code: 0 })
  })

  test('a job that closes its input stops the sender', async () => {
    let stopped = false
    const task = await suite.agent.run({ argv: ['sh', '-c', 'exec <&-; echo closed; sleep 1000'], stdin: 'stream' })
    await until(() => task.text('stdout') === 'closed\n', { withinMs: 10_000, what: 'input closed' })
    task.stdin.write(Buffer.alloc(windowBytes))
    await until(() => (stopped ||= task.stdin.stopped), { withinMs: 10_000, what: 'stop of stdin' })
    task.signal('SIGKILL')
    await task.over
  })

  test('a reader that closes is SIGPIPE for the job, on that stream alone', async () => {
    const task = await suite.agent.run({ argv: ['bash', '-c', 'trap "" PIPE; while echo x; do :; done 2>/dev/null; echo done >&2'] })
    await until(() => task.bytes('stdout').length > 0, { withinMs: 10_000, what: 'output' })
    task.receiver('stdout').stop()
    expect((await task.over).stderr.toString()).toBe('done\n')
  })

  test('a blocked stdout holds up neither stderr nor signals, and keeps memory bounded', async () => {
    const task = await suite.agent.run({ argv: ['sh', '-c', 'yes & echo here >&2; wait'], closed: ['stdout'] })
    await until(() => task.text('stderr') === 'here\n', { withinMs: 10_000, what: 'stderr' })
    task.signal('SIGTERM')
    expect(await task.heard('exited')).toMatchObject({ signal: 'SIGTERM' })
    task.via.destroy()
    await task.over
  })

  test('large output is exact', async () => {
    const { stdout } = await sh('seq 1 2000000')
    expect(stdout.length).toBe(14_888_896)
    expect(stdout.subarray(-8).toString()).toBe('2000000\n')
    let at = 0
    for (let n = 1; n <= 2_000_000; n += 1000) {
      at = stdout.indexOf(`${n}\n`, at)
      expect(at).toBeGreaterThanOrEqual(0)
    }
  })

  test('the job is its main process: what it leaves behind is killed, what it said is delivered', async () => {
    const { stdout, exited } = await sh('sleep 1000 & setsid sleep 1000 & echo bye')
    expect(exited).toMatchObject({ code: 0 })
    expect(stdout.toString()).toBe('bye\n')
  })

  test('use is measured', async () => {
    const { exited } = await sh('i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done')
    expect(exited?.usage.cpuUserMs).toBeGreaterThan(20)
    expect(exited?.outOfMemory).toBe(false)
  })

  test('a connection that breaks takes the job with it', async () => {
    const mark = join(suite.agent.folder, 'tmp-mark')
    await mkdir(mark, { mode: 0o777 })
    const task = await suite.agent.run({ argv: ['sh', '-c', 'setsid sleep 1000 & sleep 1000'] })
    await task.heard('started')
    const { length } = jobGroups()
    expect(length).toBe(1)
    task.via.destroy(new Error('gone'))
    await until(() => jobGroups().length === 0, { withinMs: 10_000, what: 'cgroup of the job gone' })
    function jobGroups(): string[] {
      return existsSync(suite.agent.settings.cgroups) ? readdirSync(suite.agent.settings.cgroups).filter((name) => name.startsWith('job-')) : []
    }
  })

  test('a terminal: sizes, echo, control characters and exit', async () => {
    const task = await suite.agent.run({ argv: ['bash', '--norc', '-c', 'stty size; tty; read line; echo got $line; trap "stty size; exit 9" WINCH; echo ready; while :; do sleep 0.05; done'], stdin: 'stream', stderr: 'stdout', tty: { rows: 24, cols: 80 } })
    task.stdin.write(Buffer.from('hello\n'))
    await until(() => task.text('stdout').includes('ready'), { withinMs: 10_000, what: 'ready' })
    task.via.control({ kind: 'resize', rows: 50, cols: 132 })
    const { stdout, exited } = await task.over
    expect(stdout.toString()).toContain('hello\r\n') // echoed when it arrives, wherever the job is then
    expect(stdout.toString().replace('hello\r\n', '')).toMatch(/^24 80\r\n\/dev\/pts\/\d+\r\ngot hello\r\nready\r\n50 132\r\n$/)
    expect(exited).toMatchObject({ code: 9 })
  })

  test('^C on a terminal is SIGINT', async () => {
    // Not a shell: one that is just about to start a command may miss it, on any terminal.
    const task = await suite.agent.run({ argv: ['cat'], stdin: 'stream', stderr: 'stdout', tty: { rows: 24, cols: 80 } })
    task.stdin.write(Buffer.from('x\n'))
    await until(() => task.text('stdout') === 'x\r\nx\r\n', { withinMs: 10_000, what: 'cat is up' })
    task.stdin.write(Buffer.from('\x03'))
    expect((await task.over).exited).toMatchObject({ signal: 'SIGINT' })
  })

  test('jobs run side by side', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, (_, n) => sh(`echo ${n}; exit ${n}`)))
    expect(all.map(({ stdout, exited }) => [stdout.toString(), exited?.code])).toEqual(all.map((_, n) => [`${n}\n`, n]))
  })

  test('garbage on the socket ends that connection alone', async () => {
    await writeFile(join(suite.agent.folder, 'x'), '')
    const task = await suite.agent.task({ kind: 'nonsense' })
    await task.over
    expect((await sh('echo fine')).stdout.toString()).toBe('fine\n')
  })
})

