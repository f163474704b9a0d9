/** One real guest of the image with the agent, booted with the bait's own command line for QEMU but without a bait. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { appendFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scratchDisks } from '../../bait/disk/scratch.ts'
import { qemuArgs } from '../../bait/hypervisor/qemu-args.ts'
import { connectWhenUp } from '../../bait/ssh/session.ts'
import type { GuestSession } from '../../bait/contracts.ts'
import { newKeyPair, type KeyPair } from '../../bait/vwns/keys.ts'
import { imageStore, kernelCommandLine } from '../../kit/image-store.ts'
import { until } from '../../kit/until.ts'
import { fromPortSchema, guestVersion, type FromPort } from '../../wire/guest.ts'
import { folderOfRun } from '../harness/temp.ts'

export interface GuestUnderTest extends AsyncDisposable {
  readonly heard: readonly FromPort[]
  readonly console: string
  /** Milliseconds of processor that QEMU has used: says more than the clock where others are at work as well. */
  cpuMs(): number
  send(message: object): void
  /** Milliseconds of this host from QEMU's spawn to the first hello. */
  hello(): Promise<number>
  /** Gives it an identity; resolves when it is ready, with the milliseconds that took. */
  identify(epoch?: number): Promise<number>
  session(): Promise<GuestSession>
}

/** Why no guest can be booted here; null where one can. */
export async function missingImage(): Promise<string | null> {
  const folder = process.env['WNOD_IMAGES']
  if (folder === undefined) return 'WNOD_IMAGES does not name an image store'
  return imageStore(folder).find('debian12').then(() => null, () => 'the image debian12 is not built')
}

export async function bootGuest(shape: { cpus?: number; memoryMib?: number } = {}): Promise<GuestUnderTest> {
  const folder = await mkdtemp(folderOfRun('guest'))
  const image = await imageStore(process.env['WNOD_IMAGES'] ?? '').find('debian12')
  const disks = join(folder, 'disks')
  await mkdir(disks)
  await scratchDisks(disks).overlay(join(folder, 'scratch.qcow2'), 2)
  const sshPort = await freePort()
  const args = qemuArgs({
    name: `wnod.agent-test.${folder.slice(-6)}`, accelerator: 'tcg', cpus: shape.cpus ?? 1, memoryMib: shape.memoryMib ?? 512,
    sockets: { control: join(folder, 'qmp'), port: join(folder, 'port'), console: join(folder, 'console') }, output: join(folder, 'qemu.log'),
    kernel: image.kernel, initrd: image.initrd, network: 'isolated', sshPort,
    cmdline: kernelCommandLine(image.manifest, { accelerator: 'tcg', cpuinfo: await readFile('/proc/cpuinfo', 'latin1') }),
    disks: [{ serial: 'os', path: image.os, format: 'raw', readOnly: true }, { serial: 'scratch', path: join(folder, 'scratch.qcow2'), format: 'qcow2', readOnly: false }],
  }).filter((arg) => arg !== '-S')
  const startedAt = performance.now()
  const qemu = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'inherit', 'inherit'] })
  const heard: FromPort[] = []
  let helloMs = 0
  let consoleText = ''
  const port = await socketTo(join(folder, 'port'))
  const serial = await socketTo(join(folder, 'console'))
  serial.on('data', (chunk: Buffer) => (consoleText += chunk.toString('latin1')))
  let rest = ''
  port.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) heard.push(fromPortSchema.parse(JSON.parse(line)))
    if (heard.length > 0 && helloMs === 0) helloMs = performance.now() - startedAt
  })
  let keys: { host: KeyPair; client: KeyPair } = { host: newKeyPair(), client: newKeyPair() }
  const send = (message: object): void => void port.write(`${JSON.stringify(message)}\n`)
  return {
    heard,
    get console() {
      return consoleText
    },
    send,
    cpuMs: () => cpuMsOf(qemu.pid ?? 0),
    hello: async () => until(() => helloMs, { withinMs: 120_000, what: 'hello of the agent' }).catch(async (error: unknown) => {
      await appendFile(join(tmpdir(), 'wnod-guest-console.txt'), consoleText)
      throw error
    }),
    async identify(epoch = 1) {
      const at = performance.now()
      if (epoch > 1) keys = { host: newKeyPair(), client: newKeyPair() }
      send({
        kind: 'identity', v: guestVersion, vwn: 'v1', token: { term: 1, epoch }, hostname: 'h1-v1', machineId: '0123456789abcdef'.repeat(2),
        hostKey: keys.host.secret, authorizedKey: keys.client.shared, nowMs: Date.UTC(2030, 0, 1), entropy: Buffer.alloc(64, 9).toString('base64'),
      })
      await until(() => heard.some((message) => message.kind === 'ready' && message.token.epoch === epoch), { withinMs: 60_000, everyMs: 2, what: 'ready' })
      return performance.now() - at
    },
    session: () => connectWhenUp({ host: '127.0.0.1', port: sshPort, hostKey: keys.host.shared, clientKey: keys.client.secret }, AbortSignal.timeout(60_000)),
    async [Symbol.asyncDispose]() {
      if (qemu.exitCode === null) {
        const gone = once(qemu, 'exit')
        qemu.kill('SIGKILL')
        await gone
      }
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Fields 14 and 15 of proc(5), in ticks of 10 ms. */
function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

const socketTo = (path: string) => until(async () => {
  const socket = connect(path)
  await once(socket, 'connect')
  return socket
}, { withinMs: 20_000, everyMs: 5, what: path })
