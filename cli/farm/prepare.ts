/** Makes the folders, settings and credentials of a local farm; what it writes is written anew by every `wnod up`. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, statfs } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { hostId, type HostId } from '../../core/ids.ts'
import { errnoOf, writeAtomic, writeFailure } from '../../kit/atomic-file.ts'
import type { Home } from '../../kit/paths.ts'
import { freePort, listenTcp } from '../../kit/socket.ts'
import { createServer } from 'node:net'
import { programFile } from '../programs.ts'
import { makeCreds, natsConfig } from './creds.ts'
import { defaultMapping, type NamedImage } from './mapping.ts'
import { readRecord, writeRecord, type FarmRecord } from './record.ts'
import { baitSettings, controllerSettings, type Capacity } from './settings.ts'
import { searchPath, type FarmProgram } from './supervisor.ts'

/** What a user may say about the farm; whatever is left out is chosen. */
export interface FarmWishes {
  readonly baits?: number | undefined
  readonly cpus?: number | undefined
  readonly memory?: number | undefined
  readonly scratch?: number | undefined
  readonly templates?: number | undefined
  readonly natsPort?: number | undefined
  readonly httpPort?: number | undefined
}

const spaceBytesMin = 256 * 1024 ** 2

/** Everything that the programs of this farm read is in its home afterwards. */
export async function prepareFarm(home: Home, wishes: FarmWishes, images: readonly NamedImage[]): Promise<FarmRecord> {
  const madeHome = !existsSync(home.home)
  const before = await readRecord(home)
  await makeFolders(home)
  await refuseFullDisk(home.home)
  const hosts = hostNames(wishes.baits ?? before?.hosts.length ?? 1)
  const [natsPort, httpPort] = [await choosePort(wishes.natsPort, before?.natsPort), await choosePort(wishes.httpPort, before?.httpPort)]
  const record: FarmRecord = {
    v: 1, hosts, natsPort, httpPort, images: home.images,
    mapping: await ensureMapping(home, images, before),
    madeHome: before?.madeHome ?? madeHome,
  }
  await writeRecord(home, record) // before the rest: whatever exists can be taken down again
  const creds = await makeCreds(hosts)
  await writeAtomic(home.natsConfig, natsConfig(creds, { port: natsPort, storeDir: natsStore(home), name: `wnod-${home.hash}` }))
  for (const [program, text] of creds.programs) await writeAtomic(home.creds(program), text)
  await writeAtomic(home.controllerConfig, controllerSettings(home, { natsPort, httpPort }), { mode: 0o644 })
  const share = await capacityShare(home, wishes, hosts.length)
  for (const host of hosts) {
    await makeFolder(home.host(host).folder, 0o711)
    await writeAtomic(home.host(host).config, baitSettings(home, host, { natsPort, capacity: share, templatesGib: wishes.templates }), { mode: 0o644 })
  }
  return record
}

/**
 * Of node's memory for what lives short, MiB: a bait that relays a job's bytes fills whatever it gets, three times over, before it
 * throws away. The unit file and the container image say the same.
 */
const shortLived = '--max-semi-space-size=8'

/** The programs of a farm that was prepared. */
export function farmPrograms(home: Home, record: FarmRecord): readonly FarmProgram[] {
  const node = (name: string, program: 'controller.js' | 'bait.js', config: string, ...flags: string[]): FarmProgram => ({
    name,
    command: [process.execPath, ...flags, programFile(program), '--home', home.home, '--config', config],
    log: home.log(name),
    pidFile: home.pid(name),
  })
  return [
    { name: 'nats', command: [findCommand('nats-server'), '-c', home.natsConfig], log: home.log('nats'), pidFile: home.pid('nats') },
    node('controller', 'controller.js', home.controllerConfig),
    ...record.hosts.map((host) => node(`bait-${host}`, 'bait.js', home.host(host).config, shortLived)),
  ]
}

/** Where the NATS server keeps JetStream's files. */
export const natsStore = (home: Home): string => join(home.home, 'nats')

/** The path of a command, or COMMAND_MISSING. */
export function findCommand(command: string): string {
  const found = searchPath().split(':').map((folder) => join(folder, command)).find((file) => existsSync(file))
  if (found !== undefined) return found
  throw new VwnError('COMMAND_MISSING', { command })
}

const hostNames = (count: number): HostId[] => Array.from({ length: count }, (_, i) => hostId(`h${i + 1}`))

/** Other users' job starters must get as far as the socket and the proof folder, and nowhere else. */
async function makeFolders(home: Home): Promise<void> {
  const open = [home.home, home.etc, home.run, home.hosts]
  const own = [dirname(home.creds('x')), home.logs, dirname(home.db), natsStore(home)]
  for (const folder of open) await makeFolder(folder, 0o755)
  for (const folder of own) await makeFolder(folder, 0o700)
}

async function makeFolder(folder: string, mode: number): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
    await chmod(folder, mode)
  } catch (cause) {
    throw writeFailure(folder, cause)
  }
}

async function refuseFullDisk(folder: string): Promise<void> {
  const disk = await statfs(folder)
  const freeBytes = disk.bavail * disk.bsize
  if (freeBytes < spaceBytesMin) throw new VwnError('DISK_FULL', { folder, freeMib: Math.floor(freeBytes / 1024 ** 2), neededMib: spaceBytesMin / 1024 ** 2 })
}

/** The port as told, which must be free; else that of before if it still is; else any free one. */
async function choosePort(told: number | undefined, before: number | undefined): Promise<number> {
  if (told !== undefined) await takePort(told)
  else if (before === undefined) return freePort()
  else return takePort(before).catch(() => freePort())
  return told
}

async function takePort(port: number): Promise<number> {
  const server = createServer()
  await listenTcp(server, port)
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** The digest of the mapping if it is (still) the one that we wrote, else null: then it is the user's. */
async function ensureMapping(home: Home, images: readonly NamedImage[], before: FarmRecord | null): Promise<string | null> {
  const text = await readFile(home.mapping, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return null
    throw new VwnError('MAPPING_UNREADABLE', { file: home.mapping }, { cause: error })
  })
  if (text !== null && digest(text) !== before?.mapping) return null
  const fresh = defaultMapping(images)
  await writeAtomic(home.mapping, fresh, { mode: 0o644 })
  return digest(fresh)
}

/** SHA-256 of a text, in hexadecimal digits. */
export const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

/** What each bait may give to VWNs: the machine's own, or as told, in equal parts. */
async function capacityShare(home: Home, wishes: FarmWishes, hosts: number): Promise<Capacity> {
  const disk = await statfs(home.home)
  const whole = {
    cpus: wishes.cpus ?? Math.max(cpus().length, 2 * hosts), // two VWNs at least can always be seen side by side
    memoryMib: wishes.memory ?? Math.floor((totalmem() / 1024 ** 2) * 0.7),
    scratchGib: wishes.scratch ?? Math.max(8 * hosts, Math.floor(((disk.bavail * disk.bsize) / 1024 ** 3) * 0.7)),
  }
  const part = (amount: number): number => Math.max(1, Math.floor(amount / hosts))
  return { cpus: part(whole.cpus), memoryMib: part(whole.memoryMib), scratchGib: part(whole.scratchGib) }
}

