/** The controller's settings: etc/controller.toml over visible defaults, which follow from the home. */
import { z } from 'zod'
import { loadConfig, type Config, type Effective } from '../kit/config.ts'
import { chooseHome, homePaths, type Home } from '../kit/paths.ts'

const path = z.string()
const seconds = z.number().positive().max(7 * 86_400)

/** Every key of the file. Empty text means: none. */
const fileSchema = (home: Home) =>
  z.strictObject({
    /** Shown to people and to the NATS server. */
    name: z.string().min(1).max(64).default('wnod'),
    log_level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
    database: path.min(1).default(home.db),
    mapping: path.min(1).default(home.mapping),
    /** An image store on this machine: the mapping may then name only images that are in it. Empty: hosts alone tell what there is. */
    images: path.default(home.images),
    /** Operator's socket, and where the address of the read-only API is written. */
    socket: path.min(1).default(home.controllerSocket),
    url_file: path.default(home.controllerUrl),
    nats: z.strictObject({
      servers: z.array(z.string().min(1)).min(1).default(['nats://127.0.0.1:4222']),
      creds: path.default(''),
    }).prefault({}),
    http: z.strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      /** 0 takes a free one. */
      port: z.int().min(0).max(65_535).default(0),
      /** Holds the secret that readers show. Empty: none, and only this machine may ask. */
      token_file: path.default(''),
    }).prefault({}),
    hosts: z.strictObject({
      /** Between two reports of a healthy bait. */
      heartbeat_s: seconds.default(2),
      /** Missed heartbeats until nothing more is placed on a host. */
      missed_max: z.int().min(1).max(1000).default(4),
      /** Silence until its VWNs are given up; a silent controller or NATS server counts for nobody. */
      lease_s: seconds.default(600),
    }).prefault({}),
    history: z.strictObject({
      /** Ended jobs and VWNs that are gone are kept this long. */
      days: z.int().min(1).max(36_500).default(365),
    }).prefault({}),
  })

/** What the controller works by; all paths are absolute or as the administrator wrote them. */
export interface Settings {
  readonly name: string
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  readonly database: string
  readonly mapping: string
  readonly images: string | null
  readonly socket: string
  readonly urlFile: string | null
  readonly nats: { readonly servers: readonly string[]; readonly creds: string | null }
  readonly http: { readonly host: string; readonly port: number; readonly tokenFile: string | null }
  readonly patience: { readonly heartbeatMs: number; readonly missedMax: number; readonly leaseMs: number }
  readonly historyMs: number
}

export interface SettingsSource {
  readonly home?: string | undefined
  /** Null: defaults alone. */
  readonly config: string | null
  readonly env: NodeJS.ProcessEnv
}

/** The settings in force, and for `--check-config` where each comes from. */
export function loadSettings({ home, config, env }: SettingsSource): { readonly settings: Settings; readonly effective: readonly Effective[] } {
  const paths = homePaths(chooseHome(home, env), { images: env['WNOD_IMAGES'] })
  const loaded: Config<FileSettings> = loadConfig(fileSchema(paths), { file: config })
  return { settings: settingsOf(loaded.settings), effective: loaded.effective }
}

type FileSettings = z.output<ReturnType<typeof fileSchema>>

const orNull = (text: string): string | null => (text === '' ? null : text)

const settingsOf = (file: FileSettings): Settings => ({
  name: file.name,
  logLevel: file.log_level,
  database: file.database,
  mapping: file.mapping,
  images: orNull(file.images),
  socket: file.socket,
  urlFile: orNull(file.url_file),
  nats: { servers: file.nats.servers, creds: orNull(file.nats.creds) },
  http: { host: file.http.host, port: file.http.port, tokenFile: orNull(file.http.token_file) },
  patience: { heartbeatMs: file.hosts.heartbeat_s * 1000, missedMax: file.hosts.missed_max, leaseMs: file.hosts.lease_s * 1000 },
  historyMs: file.history.days * 86_400_000,
})
