/** A real nats-server of the test's own: a free port of its choosing, files in a temporary folder, gone when the scope ends. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface NatsServer extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Ends the server at once, as a crash would; what it stored stays. */
  kill(): Promise<void>
  /** Brings a killed server back on the same port. */
  start(): Promise<void>
  /** Ends the server and removes its files; safe to repeat. */
  stop(): Promise<void>
}

/** Starts a server on 127.0.0.1; resolves when it takes clients. `args` are further command line arguments (JetStream, a config file). */
export async function startNats(args: readonly string[] = []): Promise<NatsServer> {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-nats-'))
  let child: ChildProcess | null = null
  let port = -1 // nats-server's word for "any free one"
  const start = async (): Promise<void> => {
    // Dies with the test runner, however that dies.
    child = spawn('setpriv', ['--pdeathsig', 'KILL', 'nats-server', '--addr', '127.0.0.1', '--port', String(port), '--store_dir', folder, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    port = await readyPort(child)
  }
  const kill = async (): Promise<void> => {
    if (child === null) return
    const ending = child
    child = null
    const exit = ending.exitCode === null && ending.signalCode === null ? once(ending, 'exit') : null
    ending.kill('SIGKILL')
    await exit
  }
  const stop = async (): Promise<void> => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await start()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    get url() { return `nats://127.0.0.1:${port}` },
    get port() { return port },
    kill,
    start,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** Resolves with the port once the server says it is ready; its words are drained for as long as it lives. */
function readyPort(child: ChildProcess): Promise<number> {
  if (child.stderr === null) throw new Error('nats-server has no stderr')
  const lines = createInterface({ input: child.stderr })
  return new Promise((resolve, reject) => {
    const said: string[] = []
    lines.on('line', (line) => {
      if (said.length < 100) said.push(line)
      const listening = said.map((earlier) => /Listening for client connections on .*:(\d+)/.exec(earlier)?.[1]).find(Boolean)
      if (line.includes('Server is ready')) resolve(Number(listening))
    })
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`nats-server ended with ${code}: ${said.join('\n')}`)))
  })
}
