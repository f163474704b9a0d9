import { readdir, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { beforeAll, describe, expect, test } from 'vitest'
import { connectWhenUp } from '../../bait/ssh/session.ts'
import { newKeyPair } from '../../bait/vwns/keys.ts'
import { seedTar } from '../../bait/vwns/seed.ts'
import { buildImage, type BuildOptions, type Built } from '../../images/build.ts'
import { chooseHome } from '../../kit/paths.ts'
import { chooseImageStore, hashFile } from '../../kit/image-store.ts'
import { helloSchema } from '../../wire/guest.ts'
import { bareGuest, waitFor } from '../harness/bare-guest.ts'
import { tempFolder } from '../harness/temp.ts'

const project = join(import.meta.dirname, '../..')
const agent = join(project, 'dist/agent.cjs')
const optionsFor = (store: string, others: Partial<BuildOptions> = {}): BuildOptions => ({
  store, project, agent, fresh: false, sources: process.env['WNOD_DEBIAN_SOURCES'], say: () => {}, signal: AbortSignal.timeout(900_000), ...others,
})
const shared = optionsFor(chooseImageStore(chooseHome(undefined, process.env), process.env))

describe('an image', () => {
  let tiny: Built
  beforeAll(async () => {
    tiny = await buildImage('tiny', shared)
  }, 900_000)

  test('is not built again while its recipe stays', async () => {
    const again = await buildImage('tiny', shared)
    expect(again).toMatchObject({ built: false, image: { digest: tiny.image.digest } })
  })

  test('without agent is reached by ssh alone, as root, with the keys of its seed', async () => {
    const [host, client] = [newKeyPair(), newKeyPair()]
    const before = await hashFile(tiny.image.os)
    await using guest = await bareGuest(tiny.image, { seed: seedTar({ hostname: 'h1-v1', hostKeyFormat: 'dropbear', host, client }) })
    const address = { host: '127.0.0.1', port: guest.sshPort, hostKey: host.shared, clientKey: client.secret }
    const session = await connectWhenUp(address, AbortSignal.timeout(120_000)).catch((cause: unknown) => {
      throw new Error(`no ssh; the console said:\n${guest.console()}`, { cause })
    })
    const said = async (command: string): Promise<string> => text(await session.exec(command))

    expect(await said(tiny.image.manifest.probe ?? 'false')).toBe('')
    expect((await said('hostname; id -u; uname -m')).split('\n')).toEqual(['h1-v1', '0', 'x86_64', ''])
    // As a user, with groups, that nobody has heard of.
    expect(await said('/usr/bin/setpriv --reuid 4711 --regid 42 --groups 7,8 /bin/id')).toBe('uid=4711 gid=42 groups=7,8\n')
    expect(await said('touch /x && test -e /x && echo written; grep " / " /proc/mounts')).toMatch(/^written\nroot \/ overlay rw/)
    expect(await said('cat /sys/fs/cgroup/cgroup.subtree_control')).toBe('cpu io memory pids\n')
    // Not even root may write to the OS disk, mounted or not, whatever he tells the kernel.
    expect(await said('blockdev --setrw /dev/vda; dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=fsync 2>&1; echo exit $?')).toMatch(/exit 1\n$/)
    expect(await hashFile(tiny.image.os)).toEqual(before)
    expect(await said('find / -xdev -name "*wnod*" | grep -v ^/run/wnod')).toBe('')
    session.close()
  })

  test('that misses a disk says so and ends its VM', async () => {
    await using guest = await bareGuest(tiny.image, { withoutScratch: true })
    await waitFor(guest, 'the kernel to give up', () => guest.console().includes('Kernel panic'))
    expect(guest.console()).toContain('wnod-init: scratch: No such device')
    expect(await guest.exit).toBe(0)
  })
})

describe.skipIf(!existsSync(agent))('an image with the agent', () => {
  let debian: Built
  beforeAll(async () => {
    debian = await buildImage('debian12', shared)
  }, 900_000)

  test('says hello on its port', async () => {
    await using guest = await bareGuest(debian.image, { memoryMib: 512 })
    await waitFor(guest, 'hello', () => guest.port().includes('\n'))
    expect(helloSchema.parse(JSON.parse(guest.port().split('\n')[0] ?? ''))).toMatchObject({ kind: 'hello' })
  })
})

describe('a build that fails leaves nothing behind', () => {
  const left = async (store: string): Promise<string[]> => (await readdir(store).catch(() => [])).filter((name) => name !== 'locks')

  test('without a mirror', async () => {
    await using folder = await tempFolder()
    const sources = join(folder.path, 'none.list')
    await writeFile(sources, '# nothing\n')
    const store = join(folder.path, 'store')
    await expect(buildImage('tiny', optionsFor(store, { sources }))).rejects.toMatchObject({ code: 'MIRROR_UNKNOWN' })
    expect(await left(store)).toEqual([])
  })

  test('with a mirror that does not answer', async () => {
    await using folder = await tempFolder()
    const sources = join(folder.path, 'dead.list')
    await writeFile(sources, 'deb http://127.0.0.1:9/debian bookworm main\n')
    const store = join(folder.path, 'store')
    await expect(buildImage('tiny', optionsFor(store, { sources }))).rejects.toMatchObject({ code: 'IMAGE_BUILD_FAILED', facts: { step: 'mmdebstrap' } })
    expect(await left(store)).toEqual([])
  })

  test('when it is stopped', async () => {
    await using folder = await tempFolder()
    const stop = new AbortController()
    const store = join(folder.path, 'store')
    const building = buildImage('tiny', optionsFor(store, { signal: stop.signal, say: (line) => void (line.includes('mmdebstrap') && stop.abort()) }))
    await expect(building).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(await left(store)).toEqual([])
  })
})
