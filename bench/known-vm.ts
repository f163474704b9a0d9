/** One of the farm's own VMs, found by its record. */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { GuestSession } from '../bait/contracts.ts'
import { connectGuest } from '../bait/ssh/session.ts'
import { commandLine } from '../kit/process.ts'
import type { Home } from '../kit/paths.ts'

const loginMs = 120_000

const handleSchema = z.object({
  stage: z.string(), sshPort: z.number().nullable(), spec: z.object({ type: z.string() }),
  hostKey: z.object({ shared: z.string() }).nullable(), clientKey: z.object({ secret: z.string() }).nullable(),
  vm: z.object({ pid: z.number() }).nullable(),
})

/** A VM of the farm, as its record describes it. */
export interface KnownVm {
  readonly folder: string
  readonly args: readonly string[]
  /** Logs in with the VWN's own keys: a second connection, beside the bait's. */
  connect(): Promise<GuestSession>
}

/** The farm's VM behind this VWN. */
export function knownVm(home: Home, vwn: string): KnownVm {
  const paths = home.host('h1').vm(vwn)
  const handle = handleSchema.parse(JSON.parse(readFileSync(paths.handle, 'utf8')))
  return {
    folder: paths.folder,
    args: commandLine(handle.vm?.pid ?? 0) ?? [],
    connect: () =>
      connectGuest(
        { host: '127.0.0.1', port: handle.sshPort ?? 0, hostKey: handle.hostKey?.shared ?? '', clientKey: handle.clientKey?.secret ?? '' },
        AbortSignal.timeout(loginMs),
      ),
  }
}
