/** A guest with the agent for the hypervisor driver alone, without a bait: a template, or one of its clones. */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FileMemorySpec } from '../../bait/hypervisor/hypervisor.ts'
import type { Meeting } from '../../bait/vwns/guest.ts'
import { newKeyPair } from '../../bait/vwns/keys.ts'
import { hostId, vwnId } from '../../core/ids.ts'
import { kernelCommandLine, type StoredImage } from '../../kit/image-store.ts'
import { freePort } from '../../kit/socket.ts'

/** The machine `name` in a new folder of its own; all of one `folder` share its memory file. */
export async function agentMachine({ os, kernel, initrd, manifest }: StoredImage, folder: string, name: string): Promise<FileMemorySpec> {
  const at = (file: string): string => join(folder, name, file)
  await mkdir(at(''))
  return {
    name: `wnod.0c10e${process.pid}.h1.${name}`,
    sockets: { control: at('qmp.sock'), port: at('agent.sock'), console: at('serial.sock') },
    stateSocket: at('state.sock'),
    output: at('hypervisor.log'),
    memoryFile: join(folder, 'memory'),
    accelerator: 'tcg',
    cpus: 1,
    memoryMib: Math.max(256, manifest.minMemoryMib),
    kernel,
    initrd,
    cmdline: kernelCommandLine(manifest, { accelerator: 'tcg', cpuinfo: await readFile('/proc/cpuinfo', 'utf8') }),
    network: 'isolated',
    sshPort: await freePort(),
    disks: [{ serial: 'os', path: os, format: 'raw', readOnly: true }, { serial: 'scratch', path: at('scratch.qcow2'), format: 'qcow2', readOnly: false }],
  }
}

/** Its scratch disk. */
export const scratchOf = (spec: FileMemorySpec): string => spec.disks.find(({ serial }) => serial === 'scratch')?.path ?? ''

/** It is to be this VWN, with new keys. */
export const meetingAs = (spec: FileMemorySpec, name: string): Meeting =>
  ({ host: hostId('h1'), vwn: vwnId(name), token: { term: 1, epoch: 1 }, portSocket: spec.sockets.port, sshPort: spec.sshPort ?? 0, hostKey: newKeyPair(), clientKey: newKeyPair() })
