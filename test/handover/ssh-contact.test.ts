import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { clean } from '../../bait/job/clean.ts'
import { connectWhenUp } from '../../bait/ssh/session.ts'
import { scriptBytesMax } from '../../core/script-path.ts'
import { until } from '../../kit/until.ts'
import { beforeFile, buildStarter, openDesk, readyVwn, runStarter, starterFolder } from './desk.ts'
import { tinyGuest, whyNoTinyGuest } from './tiny-guest.ts'

const why = whyNoTinyGuest()
vi.setConfig({ testTimeout: 60_000 }) // processes of ours start and end in each; the machine may be busy

const within = { withinMs: 20_000 }
const nobody = { uid: 65534, gid: 65534 }

describe.skipIf(why !== null)(`a guest without agent${why === null ? '' : ` (${why})`}`, () => {
  beforeAll(buildStarter, 60_000)
  afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))

  async function farm() {
    const guest = await tinyGuest()
    const desk = await openDesk()
    const session = await connectWhenUp(guest.address, AbortSignal.timeout(20_000))
    const place = readyVwn(session, 'ssh')
    return {
      guest, desk, session, place,
      async run(command: readonly string[], options: Parameters<typeof runStarter>[2] = {}) {
        const starter = runStarter(desk, command, { ...nobody, ...options })
        const { freed } = await desk.place(session, 'ssh')
        return { ...starter, freed }
      },
      clean: () => clean(place, AbortSignal.timeout(20_000)),
      async [Symbol.asyncDispose]() {
        session.close()
        await desk[Symbol.asyncDispose]()
        await guest[Symbol.asyncDispose]()
      },
    }
  }

  test('output, errors, exit code and identity', async () => {
    await using at = await farm()
    const { ended } = await at.run(['sh', '-c', 'id -u; id -g; id -un; pwd; printf err >&2; exit 7'], { input: '' })
    const { code, stdout, stderr } = await ended
    expect({ code, stdout: stdout.toString(), stderr: stderr.toString() }).toEqual({ code: 7, stdout: '65534\n65534\nnobody\n/tmp\n', stderr: 'err' })
  })

  test.each(['SIGTERM', 'SIGKILL', 'SIGBUS', 'SIGXCPU', 'SIGUSR1'] as const)('death by %s', async (signal) => {
    await using at = await farm()
    const { ended } = await at.run(['sh', '-c', `kill -${signal.slice(3)} $$`], { input: '' })
    expect(await ended).toMatchObject({ code: null, signal })
  })

  test('arguments and environment of any byte', async () => {
    await using at = await farm()
    const odd = `a'b"c\n$(x)\`\\ ${String.fromCharCode(...Array.from({ length: 126 }, (_, n) => n + 1))}`
    const { ended } = await at.run(['sh', '-c', 'printf "%s|" "$@"; env', 'sh', odd, '', '-n', 'ü'], { input: '', env: { A: odd, ODD: '', PATH: '/bin:/usr/bin' } })
    const { stdout } = await ended
    expect(stdout.toString()).toContain(`${odd}||-n|ü|`)
    expect(stdout.toString()).toContain(`A=${odd}\n`)
    expect(stdout.toString()).toContain('ODD=\n')
  })

  test('bytes both ways', async () => {
    await using at = await farm()
    const bytes = randomBytes(5 * 1024 * 1024 + 3)
    const { ended } = await at.run(['cat'], { input: bytes })
    const { stdout } = await ended
    expect(stdout.equals(bytes)).toBe(true)
  })

  test('signals reach the job', async () => {
    await using at = await farm()
    const { child, ended, stdout } = await at.run(['sh', '-c', 'trap "echo got" USR1; trap "exit 3" TERM; echo up; while :; do sleep 0.05; done'])
    await until(() => stdout().includes('up'), within)
    child.kill('SIGUSR1')
    await until(() => stdout().includes('got'), within)
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 3 })
  })

  test('the death of the starter ends the job, and cleaning finds nothing left', async () => {
    await using at = await farm()
    const { child, freed, stdout } = await at.run(['sh', '-c', 'setsid sleep 1000 & echo x > /tmp/left; echo up; exec sleep 1000'])
    await until(() => stdout().includes('up'), within)
    child.kill('SIGKILL')
    await freed
    const report = await at.clean()
    expect(report.left).toEqual([])
    expect(report.checked).toEqual(['processes', 'homes', 'staged', 'scratch', 'ipc'])
    const { ended } = await at.run(['sh', '-c', 'ls -A /tmp; ps | grep -c "[s]leep 1000"'], { input: '' })
    expect((await ended).stdout.toString()).toBe('0\n')
  })

  test('a reader that closes is a SIGPIPE', async () => {
    await using at = await farm()
    const { child, ended, stdout } = await at.run(['yes'], { input: '' })
    await until(() => stdout() !== '', within)
    child.stdout.destroy()
    expect(await ended).toMatchObject({ signal: 'SIGPIPE' })
  })

  test('a guest that goes away leaves the job lost', async () => {
    await using at = await farm()
    const { ended, stdout } = await at.run(['sh', '-c', 'echo up; exec sleep 1000'])
    await until(() => stdout().includes('up'), within)
    at.session.close()
    expect(await ended).toMatchObject({ code: 76 })
  })

  describe('the script of a job', () => {
    /** As Slurm calls us for a script in its spool. */
    async function script(at: Awaited<ReturnType<typeof farm>>, folder: string, content: string | Buffer) {
      const path = `${folder}/job00007/slurm_script`
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
      writeFileSync(path, content)
      const env = { PATH: process.env['PATH'] ?? '', WNOD_FRONT_END: 'slurm', WNOD_NODE: process.execPath, WNOD_SOCKET: at.desk.socket, WNOD_ARGV0: path }
      const ended = execa(beforeFile, ['a b', ''], { env, extendEnv: false, reject: false, stdin: 'ignore', cwd: '/tmp', ...nobody })
      await (await at.desk.place(at.session, 'ssh')).freed
      return { path, ...(await ended) }
    }
    const spools: string[] = []
    const spool = (name: string): string => {
      const folder = mkdtempSync(name)
      chmodSync(folder, 0o755)
      spools.push(folder)
      return folder
    }
    afterAll(() => spools.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

    test('is at its path, the user’s own, and gone with the job', async () => {
      await using at = await farm()
      const { path, stdout, exitCode } = await script(at, spool("/var/tmp/wnod 'spool' $x"), '#!/bin/sh\necho "$0|$#|$1|$2"\nstat -c "%a %u %g" "$0" "${0%/*}"\nrm -f "$0" 2>/dev/null || echo kept\nexit 5\n')
      expect({ stdout, exitCode }).toEqual({ stdout: `${path}|2|a b|\n700 65534 65534\n755 0 0\nkept`, exitCode: 5 })
      expect((await at.clean()).left).toEqual([])
      expect(readdirSync(join(at.guest.root, 'var/tmp'))).toEqual([])
    })

    test('has its bytes, whatever they are, up to the largest', async () => {
      await using at = await farm()
      const content = Buffer.concat([Buffer.from('#!/bin/sh\nsha256sum < "$0"; exit\n'), randomBytes(scriptBytesMax)]).subarray(0, scriptBytesMax)
      const { stdout } = await script(at, spool('/var/tmp/wnod-spool-'), content)
      expect(stdout).toBe(`${createHash('sha256').update(content).digest('hex')}  -`)
    })

    test.each<[string, (root: string, folder: string) => void]>([
      ['its folder is there', (root, folder) => mkdirSync(join(root, folder, 'job00007'), { recursive: true })],
      ['a link is on the way', (root, folder) => symlinkSync('/etc', join(root, folder))],
      ['a file is on the way', (root, folder) => writeFileSync(join(root, folder), 'kept')],
      ['a user can exchange what is on the way', (root, folder) => (mkdirSync(join(root, folder)), chownSync(join(root, folder), nobody.uid, nobody.gid))],
      ['all can exchange what is on the way', (root, folder) => (mkdirSync(join(root, folder)), chmodSync(join(root, folder), 0o777))],
    ])('goes elsewhere where %s', async (_what, make) => {
      await using at = await farm()
      const folder = spool('/var/tmp/wnod-spool-')
      make(at.guest.root, folder)
      const before = readdirSync(join(at.guest.root, 'etc'))
      const { stdout, exitCode } = await script(at, folder, '#!/bin/sh\necho "$0"\n')
      expect({ stdout, exitCode }).toEqual({ stdout: expect.stringMatching(/^\/tmp\/wnod-script-h1-1\/slurm_script$/) as string, exitCode: 0 })
      expect(readdirSync(join(at.guest.root, 'etc'))).toEqual(before)
      expect(existsSync(join(at.guest.root, folder, 'job00007/slurm_script'))).toBe(false)
      expect((await at.clean()).left).toEqual([])
      expect(readdirSync(join(at.guest.root, 'tmp'))).toEqual([])
    })
  })

  test('a dead root is never clean', async () => {
    await using at = await farm()
    const { ended } = await at.run(['true'], { uid: 0, gid: 0, input: '' })
    expect(await ended).toMatchObject({ code: 0 })
    expect((await at.clean()).left).toEqual([expect.stringContaining('root')])
    writeFileSync(join(at.guest.root, 'ok'), '')
  })
})
