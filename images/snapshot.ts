/**
 * A snapshot of the agent's heap after its start. Debian's node is built without one of its own: starting the agent from source takes
 * an emulated guest 2.4 s, from a snapshot 0.6 s. It is made by the image's own node, in a small root with that and nothing else.
 */
import { copyFile, cp, mkdir, open, readdir, rename, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { tryUnlink } from '../kit/atomic-file.ts'
import { run } from '../kit/command.ts'

/** Node and all that it needs, copied from an unpacked root to a root of its own. */
export async function keepNode(root: string, to: string): Promise<void> {
  const loader = await findLoader(root)
  const libraries = (await readdir(join(root, 'usr/lib'))).filter((name) => name.endsWith('-linux-gnu')).map((name) => join(root, 'usr/lib', name))
  // The build's own loader lists what node would load; nothing of the image runs yet.
  const { stdout } = await run(loader, ['--library-path', libraries.join(':'), '--list', join(root, 'usr/bin/node')])
  const needed = [...stdout.matchAll(/=> (\/\S+)/g)].flatMap((match) => match[1] ?? []).filter((file) => file.startsWith(`${root}/usr/`))
  for (const file of [join(root, 'usr/bin/node'), loader, ...needed]) {
    const copy = join(to, relative(root, file))
    await mkdir(dirname(copy), { recursive: true })
    await copyFile(file, copy)
  }
  // Debian keeps parts of node's own library here.
  await cp(join(root, 'usr/share/nodejs'), join(to, 'usr/share/nodejs'), { recursive: true })
  for (const name of ['lib', 'lib64']) await symlink(`usr/${name}`, join(to, name))
}

/** Writes the snapshot that the node of this root makes of the agent. */
export async function snapshotAgent(root: string, agent: string, to: string): Promise<void> {
  const [source, blob] = [join(root, 'agent.cjs'), join(root, 'agent.blob')]
  const asRoot = process.getuid?.() === 0 ? [] : ['unshare', '--user', '--map-root-user']
  const [command = '', ...args] = [...asRoot, 'chroot', root, '/usr/bin/node', '--snapshot-blob', '/agent.blob', '--build-snapshot', '/agent.cjs']
  // What the building user has set for his own node must not end up in the image.
  const env = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, NODE_OPTIONS: undefined, NODE_EXTRA_CA_CERTS: undefined }
  try {
    await mkdir(join(root, 'tmp'), { recursive: true }) // the agent rehearses there
    await copyFile(agent, source)
    await run(command, args, { env })
    await acceptAnyProcessor(blob)
    await rename(blob, to)
  } catch (cause) {
    throw new VwnError('IMAGE_BUILD_FAILED', { step: 'snapshot' }, { cause })
  } finally {
    for (const file of [source, blob]) await tryUnlink(file)
  }
}

/**
 * Node takes a snapshot only where the processor's features equal those of its maker, unless byte 4 says that it was made by node's own
 * build. This one holds no machine code either.
 */
async function acceptAnyProcessor(snapshot: string): Promise<void> {
  const file = await open(snapshot, 'r+')
  await file.write(Uint8Array.of(0), 0, 1, 4).finally(() => file.close())
}

async function findLoader(root: string): Promise<string> {
  for (const folder of ['usr/lib64', 'usr/lib']) {
    const name = (await readdir(join(root, folder)).catch(() => [])).find((file) => /^ld-linux-.*\.so\.\d+$/.test(file))
    if (name !== undefined) return join(root, folder, name)
  }
  throw new VwnError('IMAGE_BUILD_FAILED', { step: 'snapshot', missing: 'the loader of shared libraries' })
}
