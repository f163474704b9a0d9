/** A real Prometheus of the test's own, which watches what it is told to; gone, with its files, when the scope ends. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from './temp.ts'

export interface Prometheus extends AsyncDisposable {
  /** The `data` of its answer; throws what it says instead. */
  ask(path: string): Promise<unknown>
  /** The values of an expression now, by their labels as JSON. */
  query(expression: string): Promise<ReadonlyMap<string, number>>
}

/** Scrapes these addresses every two seconds, each under a job's name, and evaluates the rules more often. */
export async function startPrometheus(jobs: Readonly<Record<string, string>>, rules: string): Promise<Prometheus> {
  const folder = await tempFolder()
  const port = await freePort()
  const config = {
    global: { scrape_interval: '2s', scrape_timeout: '2s', evaluation_interval: '200ms' },
    rule_files: [rules],
    scrape_configs: Object.entries(jobs).map(([name, url]) => ({ job_name: name, static_configs: [{ targets: [new URL(url).host] }] })),
  }
  const file = join(folder.path, 'prometheus.yml')
  await writeFile(file, JSON.stringify(config)) // which is YAML
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'prometheus', `--config.file=${file}`, `--storage.tsdb.path=${join(folder.path, 'data')}`, `--web.listen-address=127.0.0.1:${port}`], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString('utf8')).slice(-4_000)))
  const ended = once(child, 'exit')
  const ask = async (path: string): Promise<unknown> => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)
    const body = await answer.json() as { status: string; data: unknown; error?: string }
    if (body.status !== 'success') throw new Error(`${path}: ${body.error ?? body.status}`)
    return body.data
  }
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
    await folder[Symbol.asyncDispose]()
  }
  try {
    const ready = (): Promise<boolean> => fetch(`http://127.0.0.1:${port}/-/ready`).then(({ ok }) => ok, () => false)
    await until(ready, { withinMs: 20_000, what: 'prometheus is ready' })
  } catch (error) {
    await stop()
    throw new Error(`prometheus did not start: ${said}`, { cause: error })
  }
  return {
    ask,
    async query(expression) {
      const { result } = await ask(`query?query=${encodeURIComponent(expression)}`) as { result: readonly { metric: object; value: readonly [number, string] }[] }
      return new Map(result.map(({ metric, value: [, value] }) => [JSON.stringify(metric), Number(value)]))
    },
    [Symbol.asyncDispose]: stop,
  }
}
