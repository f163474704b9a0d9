/** The settings files of a local farm: what differs from the defaults, which config/*.toml of the project shows in full. */
import type { HostId } from '../../core/ids.ts'
import type { Home } from '../../kit/paths.ts'

export interface Capacity {
  readonly cpus: number
  readonly memoryMib: number
  readonly scratchGib: number
}

const header = (program: string): string =>
  `# Settings of ${program} in a local farm, written anew by every \`wnod up\`. Every key there is: \`wnod ${program.split(' ')[0]} --check-config\`\n`

const nats = (home: Home, program: string, port: number): string => `
[nats]
servers = ["nats://127.0.0.1:${port}"]
creds = ${JSON.stringify(home.creds(program))}
`

/** The text of etc/controller.toml. */
export const controllerSettings = (home: Home, ports: { natsPort: number; httpPort: number }): string =>
  `${header('controller')}
images = ${JSON.stringify(home.images)}
${nats(home, 'controller', ports.natsPort)}
[http]
port = ${ports.httpPort}
`

/** The text of etc/bait-HOST.toml. */
export const baitSettings = (home: Home, host: HostId, options: { natsPort: number; capacity: Capacity; templatesGib?: number | undefined }): string =>
  `${header(`bait ${host}`)}
host = ${JSON.stringify(host)}
images = ${JSON.stringify(home.images)}
${nats(home, `bait-${host}`, options.natsPort)}
# What VWNs may take of this machine, all together.
[capacity]
cpus = ${options.capacity.cpus}
memory_mib = ${options.capacity.memoryMib}
scratch_gib = ${options.capacity.scratchGib}
${options.templatesGib === undefined ? '' : `
# Saved machines that new VWNs are cloned from, and the disk that they may take; 0 boots every VWN.
[templates]
disk_gib = ${options.templatesGib}
`}`
