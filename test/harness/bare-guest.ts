/**
 * A guest under QEMU alone, without anything of the bait: what an image must do by itself. The command line is the one of
 * docs/decisions/0002-guest-boot.md.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { truncate, writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { fileSystemArgs, makeOverlay } from '../../bait/disk/scratch.ts'
import { run } from '../../kit/command.ts'
import { kernelCommandLine, type StoredImage } from '../../kit/image-store.ts'
import { freePort, listenUnix } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { agentPortName } from '../../wire/guest.ts'
import { tempFolder } from './temp.ts'

export interface BareGuest extends AsyncDisposable {
  readonly sshPort: number
  /** All that came over the serial console so far. */
  console(): string
  /** All that the guest wrote to the agent's port so far. */
  port(): string
  /** Resolves when QEMU has ended, with its exit status. */
  readonly exit: Promise<number | null>
}

export interface BareGuestOptions {
  readonly seed?: Uint8Array
  readonly withoutScratch?: boolean
  readonly memoryMib?: number
}

/** Boots the image by emulation; the guest and all its files are gone when the scope is left. */
export async function bareGuest(image: StoredImage, options: BareGuestOptions = {}): Promise<BareGuest> {
  const folder = await tempFolder()
  const at = (name: string): string => join(folder.path, name)
  await makeScratch(at('pristine'), at('scratch.qcow2'))
  if (options.seed !== undefined) await writeFile(at('seed.tar'), options.seed)
  let port = ''
  const server = createServer((socket: Socket) => void socket.on('error', () => {}).on('data', (bytes) => (port += bytes.toString())))
  await listenUnix(server, at('port.sock'), 0o600)
  const sshPort = await freePort()

  const qemu = spawn('qemu-system-x86_64', bareGuestArgs(image, { ...options, at, sshPort }), { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [qemu.stdout, qemu.stderr]) stream.on('data', (bytes: Buffer) => (output += bytes.toString()))
  const exit = once(qemu, 'exit').then(([code]: (number | null)[]) => code ?? null)
  return {
    sshPort,
    exit,
    console: () => output,
    port: () => port,
    async [Symbol.asyncDispose]() {
      qemu.kill('SIGKILL')
      await exit
      server.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** Waits for a sign of the guest, and shows its console when none comes. */
export async function waitFor(guest: BareGuest, what: string, sign: () => boolean): Promise<void> {
  await until(sign, { withinMs: 120_000, what }).catch((cause: unknown) => {
    throw new Error(`${what}: not seen; the console said:\n${guest.console()}`, { cause })
  })
}

interface Setting extends BareGuestOptions {
  readonly at: (name: string) => string
  readonly sshPort: number
}

function bareGuestArgs(image: StoredImage, { at, sshPort, seed, withoutScratch, memoryMib = 256 }: Setting): string[] {
  const disk = (serial: string, format: string, file: string, how: string): string[] =>
    ['-drive', `if=none,id=${serial},format=${format},file=${file},${how}`, '-device', `virtio-blk-device,drive=${serial},serial=${serial}`]
  const cmdline = kernelCommandLine(image.manifest, { accelerator: 'tcg', cpuinfo: readFileSync('/proc/cpuinfo', 'utf8') })
  return [
    '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none',
    '-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    '-machine', 'microvm,acpi=on,pit=off,pic=off,rtc=on', '-accel', 'tcg', '-cpu', 'max,-avx,-avx2,-erms,-fsrm,-la57', '-m', `${memoryMib}M`,
    '-kernel', image.kernel, '-initrd', image.initrd, '-append', cmdline,
    ...disk('os', 'raw', image.os, 'read-only=on,file.locking=off'),
    ...(withoutScratch ? [] : disk('scratch', 'qcow2', at('scratch.qcow2'), 'cache=unsafe')),
    ...(seed === undefined ? [] : disk('seed', 'raw', at('seed.tar'), 'read-only=on')),
    '-netdev', `user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:${sshPort}-:22`, '-device', 'virtio-net-device,netdev=net',
    '-device', 'virtio-rng-device',
    '-chardev', `socket,id=port,path=${at('port.sock')}`, '-device', 'virtio-serial-device', '-device', `virtserialport,chardev=port,name=${agentPortName}`,
    '-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console',
  ]
}

async function makeScratch(pristine: string, overlay: string): Promise<void> {
  await writeFile(pristine, '')
  await truncate(pristine, 1024 ** 3)
  await run('mke2fs', fileSystemArgs(pristine), { env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` } })
  await makeOverlay(overlay, { backing: pristine, format: 'raw', bytes: 1024 ** 3 })
}
