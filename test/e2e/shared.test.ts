/** Jobs in a directory that their guest shares with the bait, over a real NFS server that comes and goes. */
import { chownSync, existsSync, lstatSync, mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { until } from '../../kit/until.ts'
import { ended, startFarm } from '../harness/farm.ts'
import { missingNfs, startNfs } from '../harness/nfs.ts'

vi.setConfig({ testTimeout: 300_000 })

/** Debian's user sync, in group nogroup. */
const user = { name: 'sync', uid: 4, gid: 65534 }
const within = { withinMs: 60_000 }
/** Tries to speak NFS itself, as whoever it likes: the port is there, and nobody behind it. */
const intrude = `port=$(sed -n 's/.* nfs4 .*,port=\\([0-9]*\\),.*/\\1/p' /proc/mounts); echo intruder: $( (exec 3<>/dev/tcp/127.0.0.1/$port && cat <&3) 2>/dev/null | wc -c)`

test.skipIf(missingNfs !== null)(`a job works in its own directory${missingNfs === null ? '' : ` (${missingNfs})`}`, async () => {
  await using nfs = await startNfs()
  const own = join(realpathSync(nfs.folder), user.name)
  mkdirSync(join(own, 'deep/er'), { recursive: true })
  for (const folder of ['deep/er', 'deep', '.']) chownSync(join(own, folder), user.uid, user.gid)
  symlinkSync('deep/er', join(own, 'short'))
  const at = (name: string): string => join(own, 'deep/er', name)
  const mapping = `
types:
  work:
    image: debian12
    memory_mib: 512
    scratch_gib: 4
    mounts: [{ nfs: '127.0.0.1:${nfs.path}', at: ${realpathSync(nfs.folder)}, port: ${nfs.port}, options: actimeo=1 }]
default: { type: work }
`
  await using farm = await startFarm({ mapping, templates: 8 })
  const starts = (script: string, cwd: string) => farm.start(['bash', '-c', script], { as: user.name, cwd, env: { PWD: cwd } })

  const talk = `pwd; pwd -P; umask 027; id -u > made; mkdir new; ln -s made link; ${intrude}; until [ -e go ]; do sleep 0.2; done; cat go; rm go`
  const first = starts(talk, join(own, 'short'))
  const over = ended(first)
  await until(() => existsSync(at('made')) && readFileSync(at('made'), 'utf8') === '4\n', { ...within, what: 'what the job has written' })
  expect(lstatSync(at('made'))).toMatchObject({ uid: user.uid, gid: user.gid, mode: 0o100640 })
  writeFileSync(at('go'), 'from the bait\n')
  expect(await over).toMatchObject({ code: 0, stdout: `${join(own, 'short')}\n${join(own, 'deep/er')}\nintruder: 0\nfrom the bait\n`, stderr: '' })
  expect([existsSync(at('go')), lstatSync(at('new')).isDirectory(), lstatSync(at('link')).isSymbolicLink()]).toEqual([false, true, true])
  expect(farm.log('bait-h1')).toContain('connection of a job to a shared file system refused')

  const second = await farm.run(['sh', '-c', 'pwd; cat made'], { as: user.name, cwd: join(own, 'deep/er') })
  expect(second).toMatchObject({ code: 0, stdout: `${join(own, 'deep/er')}\n4\n`, report: { reused: true } })
  expect(lstatSync(at('made')).size).toBe(2)

  const third = starts('exec 3>log; echo before >&3; until [ -e go ]; do sleep 0.2; done; echo after >&3', join(own, 'deep/er'))
  const survives = ended(third)
  await until(() => existsSync(at('log')), { ...within, what: 'a job that runs' })
  await nfs.kill()
  expect(third.exitCode).toBe(null)
  await nfs.start()
  writeFileSync(at('go'), '')
  expect(await survives).toMatchObject({ code: 0, stderr: '' })
  expect(readFileSync(at('log'), 'utf8')).toBe('before\nafter\n')

  await nfs.kill()
  const refused = await farm.run(['true'], { as: user.name, cwd: own, withinMs: 60_000 })
  expect(refused).toMatchObject({ stdout: '', report: { outcome: { is: 'refused', failure: { code: 'SHARE_UNREACHABLE' } } } })
  expect(refused.stderr).toContain('SHARE_UNREACHABLE')
  await nfs.start()
  expect(await farm.run(['pwd'], { as: user.name, cwd: own })).toMatchObject({ code: 0, stdout: `${own}\n` })
  expect(await farm.audit()).toMatchObject({ code: 0 })
})
