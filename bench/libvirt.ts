/**
 * What an administrator would write today: libvirt starts the same image with the same kernel on the same kind of machine, a loop waits
 * for its ssh server, the job's command runs over ssh, the domain is destroyed. Beside it, in turn, the same command in a fresh VWN.
 *
 * libvirt has a daemon of its own here, with its socket in a temporary folder; it needs root, as its system instance does everywhere.
 */
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newKeyPair } from '../bait/vwns/keys.ts'
import { run } from '../kit/command.ts'
import { imageStore, kernelCommandLine, type StoredImage } from '../kit/image-store.ts'
import { freePort } from '../kit/socket.ts'
import { until } from '../kit/until.ts'
import { jobOf, startBenchFarm, templateOf, timed } from './farm.ts'
import { compare, type Found } from './results.ts'

const say = (text: string): void => void process.stderr.write(`${text}\n`)
const commandMs = 120_000
const guestMs = 120_000
const diskMib = 256

/** `command` in a fresh VWN, against the same by libvirt. */
export async function libvirt(images: string, runs: number): Promise<Found> {
  if (process.getuid?.() !== 0) throw new Error("libvirt's system instance needs root")
  const image = await imageStore(images).find('debian12')
  await using farm = await startBenchFarm(images, { templates: true })
  await templateOf(farm, 'fresh')
  await using daemon = await startDaemon()
  const ours: number[] = []
  const theirs: Taken[] = []
  for (let run = 0; run < runs; run += 1) {
    await farm.quiet()
    ours.push((await jobOf(farm, 'fresh', ['echo', 'up'])).endMs)
    await farm.quiet()
    theirs.push(await once(daemon, image))
    say(`  libvirt ${run + 1}/${runs}: ours ${Math.round(ours.at(-1) ?? 0)} ms, theirs ${JSON.stringify(theirs.at(-1))}`)
  }
  const counted = ({ ssh, command }: Taken): number => ssh + command
  const phases = { create: theirs.map(({ create }) => create), ssh: theirs.map(({ ssh }) => ssh), command: theirs.map(({ command }) => command), destroy: theirs.map(({ destroy }) => destroy) }
  return { comparisons: [compare('debian12: a command in a fresh VWN, against libvirt and ssh', ours, theirs.map(counted), { most: 1, note: 'theirs: ssh until it answers, and the command; create and destroy are among the phases, which are theirs, and not counted', phases })] }
}

/** Milliseconds of each step of theirs. */
interface Taken {
  readonly create: number
  readonly ssh: number
  readonly command: number
  readonly destroy: number
}

interface Daemon extends AsyncDisposable {
  readonly folder: string
  virsh(...args: readonly string[]): Promise<unknown>
}

async function startDaemon(): Promise<Daemon> {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-libvirt-'))
  chmodSync(folder, 0o755)
  const config = join(folder, 'libvirtd.conf')
  writeFileSync(config, `unix_sock_dir = "${folder}"\nauth_unix_rw = "none"\n`)
  // virtlogd keeps what QEMU says, and is where libvirt is built to look for it; where one runs already, ours ends at once.
  mkdirSync('/run/libvirt', { recursive: true })
  const children = [
    spawn('/usr/sbin/virtlogd', ['--pid-file', join(folder, 'log.pid')], { stdio: 'ignore' }),
    spawn('/usr/sbin/libvirtd', ['--config', config, '--pid-file', join(folder, 'pid')], { stdio: 'ignore' }),
  ]
  const gone = Promise.all(children.map((child) => new Promise<void>((resolve) => child.once('close', () => resolve()))))
  const virsh = (...args: readonly string[]): Promise<unknown> => run('virsh', ['--quiet', '--connect', `qemu+unix:///system?socket=${join(folder, 'libvirt-sock')}`, ...args], { timeoutMs: commandMs })
  await until(() => virsh('version').then(() => true), { withinMs: commandMs, everyMs: 200, what: 'libvirt answers' })
  return {
    folder,
    virsh,
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill('SIGTERM')
      await gone
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** One domain from nothing to nothing; its disk is made before the clock starts. */
async function once({ folder, virsh }: Daemon, image: StoredImage): Promise<Taken> {
  const own = mkdtempSync(join(folder, 'domain-'))
  const client = join(own, 'key')
  const keys = { host: newKeyPair(), client: newKeyPair() }
  writeFileSync(client, keys.client.secret, { mode: 0o600 })
  const scratch = await scratchDisk(own, keys.host.secret, keys.client.shared)
  const port = await freePort()
  const xml = join(own, 'domain.xml')
  writeFileSync(xml, domainXml(image, { scratch, port, cmdline: kernelCommandLine(image.manifest, { accelerator: 'tcg', cpuinfo: await readFile('/proc/cpuinfo', 'utf8') }) }))
  const ssh = (command: string): ReturnType<typeof timed> => timed('ssh', [
    '-q', '-i', client, '-p', String(port), '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'ConnectTimeout=5', '-o', 'BatchMode=yes', 'root@127.0.0.1', command,
  ])
  const took = async (work: () => Promise<unknown>): Promise<number> => {
    const startedMs = performance.now()
    await work()
    return Math.round(performance.now() - startedMs)
  }
  try {
    const create = await took(() => virsh('create', xml))
    const up = await took(() => until(() => ssh('true').then(() => true), { withinMs: guestMs, everyMs: 100, what: 'ssh server of the domain' }))
    const command = await took(() => ssh('echo up'))
    return { create, ssh: up, command, destroy: await took(() => virsh('destroy', 'wnod-bench')) }
  } catch (error) {
    await virsh('destroy', 'wnod-bench').catch(() => undefined)
    throw error
  } finally {
    rmSync(own, { recursive: true, force: true })
  }
}

const initScript = `#!/bin/sh
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e
`
const sshdConfig = 'PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nStrictModes no\nUseDNS no\n'

/** A writable layer for the image in which an administrator has put keys and an init that starts the image's own ssh server. */
async function scratchDisk(own: string, hostKey: string, clientKey: string): Promise<string> {
  const upper = join(own, 'root/upper')
  const put = (path: string, text: string, mode: number): void => {
    mkdirSync(join(upper, path, '..'), { recursive: true })
    writeFileSync(join(upper, path), text, { mode })
  }
  put('usr/sbin/init', initScript, 0o755)
  put('etc/ssh/sshd_config', sshdConfig, 0o644)
  put('etc/ssh/ssh_host_ed25519_key', hostKey, 0o600)
  put('root/.ssh/authorized_keys', `${clientKey}\n`, 0o600)
  const disk = join(own, 'scratch.ext4')
  await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-L', 'scratch', '-O', '^has_journal', '-d', join(own, 'root'), disk, `${diskMib}M`], { timeoutMs: commandMs, env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` } })
  return disk
}

/** A microvm like ours. libvirt has no word for QEMU's user network with a forwarded port, so that goes by hand. */
function domainXml({ os, kernel, initrd }: StoredImage, at: { scratch: string; port: number; cmdline: string }): string {
  const disk = (file: string, serial: string, target: string, readOnly: boolean): string => `
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${file}'/><target dev='${target}' bus='virtio'/>${readOnly ? '<readonly/>' : ''}<serial>${serial}</serial><address type='virtio-mmio'/></disk>`
  return `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>wnod-bench</name>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='microvm'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd><cmdline>${at.cmdline}</cmdline></os>
  <features><acpi/></features>
  <cpu mode='maximum'>${['avx', 'avx2', 'erms', 'fsrm', 'la57'].map((name) => `<feature policy='disable' name='${name}'/>`).join('')}</cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>${disk(os, 'os', 'vda', true)}${disk(at.scratch, 'scratch', 'vdb', false)}
    <rng model='virtio'><backend model='random'>/dev/urandom</backend><address type='virtio-mmio'/></rng>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
  <qemu:commandline>
    <qemu:arg value='-netdev'/><qemu:arg value='user,id=net,hostfwd=tcp:127.0.0.1:${at.port}-:22'/>
    <qemu:arg value='-device'/><qemu:arg value='virtio-net-device,netdev=net'/>
  </qemu:commandline>
</domain>
`
}
