/**
 * A snapshot of the agent's heap after its start. Debian's node is built without one of its own: starting the agent from source takes
 * an emulated guest 2.4 s, from a snapshot 0.6 s. It is made by the image's own node, run on the building host without entering the
 * image: its loader is told where its libraries lie.
 */
import { copyFile, mkdir, open, readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { run } from '../kit/command.ts'

/** Node and every library that it needs, copied from an unpacked root to one folder. */
export async function keepNode(root: string, to: string): Promise<void> {
  await mkdir(to)
  const libraries = (await readdir(join(root, 'usr/lib'))).filter((name) => name.endsWith('-linux-gnu')).map((name) => join(root, 'usr/lib', name))
  const loader = await findLoader(root)
  const { stdout } = await run(loader, ['--library-path', libraries.join(':'), '--list', join(root, 'usr/bin/node')])
  const needed = [...stdout.matchAll(/=> (\/\S+)/g)].flatMap((match) => match[1] ?? [])
  for (const file of [...needed, join(root, 'usr/bin/node')]) await copyFile(file, join(to, basename(file)))
  await copyFile(loader, join(to, 'loader'))
}

/** Writes the snapshot that this folder's node makes of the agent. */
export async function snapshotAgent(node: string, agent: string, to: string): Promise<void> {
  const args = ['--library-path', node, join(node, 'node'), '--snapshot-blob', to, '--build-snapshot', agent]
  await run(join(node, 'loader'), args, { env: { NODE_OPTIONS: undefined, NODE_EXTRA_CA_CERTS: undefined } }).catch((cause: unknown) => {
    throw new VwnError('IMAGE_BUILD_FAILED', { step: 'snapshot' }, { cause })
  })
  await acceptAnyProcessor(to)
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
  for (const folder of ['usr/lib64', 'lib64', 'usr/lib', 'lib']) {
    const name = (await readdir(join(root, folder)).catch(() => [])).find((file) => /^ld-linux-.*\.so\.\d+$/.test(file))
    if (name !== undefined) return join(root, folder, name)
  }
  throw new VwnError('IMAGE_BUILD_FAILED', { step: 'snapshot', missing: 'the loader of shared libraries' })
}
