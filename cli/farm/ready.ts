import { connect } from 'node:net'
import { VwnError } from '../../core/errors.ts'
import type { HostId } from '../../core/ids.ts'
import { someoneAnswers } from '../../kit/socket.ts'
import { hostsReplySchema, statusSchema } from '../../wire/api.ts'
import type { Api } from '../client.ts'
import type { Home } from '../../kit/paths.ts'

/** A condition of readiness: null when it holds, else what is still missing. */
export interface Condition {
  readonly name: string
  readonly lacks: () => Promise<string | null>
}

/** All that must hold before a farm can take jobs, in the order in which it comes true. */
export function conditions(home: Home, api: Api, record: { readonly natsPort: number; readonly hosts: readonly HostId[] }): readonly Condition[] {
  return [
    { name: 'nats', lacks: () => natsLacks(record.natsPort) },
    {
      name: 'controller',
      lacks: () =>
        quiet(async () => {
          const status = await api.get('/status', statusSchema)
          if (!status.bus.connected) return 'it is not connected to the NATS server'
          if (status.mapping.problem !== null) throw new VwnError('MAPPING_REFUSED', { problem: status.mapping.problem.message })
          return status.mapping.version === 0 ? 'it has no mapping yet' : null
        }),
    },
    ...record.hosts.map((host) => ({
      name: `bait-${host}`,
      lacks: () =>
        quiet(async () => {
          const seen = (await api.get('/hosts', hostsReplySchema)).hosts.find((one) => one.host === host)
          if (seen?.fact !== 'alive') return 'the controller has not heard of it'
          if (!seen.accelerators.some((one) => one.works)) return 'it has found no way to run a guest yet'
          return (await someoneAnswers(home.host(host).socket)) ? null : 'its socket for job starters is not open'
        }),
    })),
  ]
}

/** A server that says INFO is one that takes connections. */
function natsLacks(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 1_000 })
    const answer = (lacks: string | null): void => {
      socket.destroy()
      resolve(lacks)
    }
    socket.once('data', (data) => answer(data.toString('latin1').startsWith('INFO ') ? null : 'something else answers on its port'))
    socket.once('timeout', () => answer('it does not answer'))
    socket.once('error', () => answer('it does not listen yet'))
  })
}

async function quiet(look: () => Promise<string | null>): Promise<string | null> {
  try {
    return await look()
  } catch (error) {
    if (error instanceof VwnError && error.code === 'CONTROLLER_AWAY') return 'the controller does not answer yet'
    throw error
  }
}
