/** A real terminal: a pane of a tmux of the test's own, with a shell in it. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { errnoOf } from '../../kit/atomic-file.ts'
import { isAlive, processOf } from '../../kit/process.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from './temp.ts'

export interface Pane extends AsyncDisposable {
  /** Where the shell is. */
  readonly folder: string
  /** What is on the screen now, line by line. */
  screen(): Promise<string>
  /** Waits until the screen is like this. */
  shows(pattern: RegExp): Promise<string>
  /** Keys as tmux names them. */
  press(...keys: readonly string[]): Promise<void>
  /** Types a line for the shell. */
  type(line: string): Promise<void>
  resize(columns: number, rows: number): Promise<void>
  /** What tmux knows of it: `alternate_on`, `cursor_flag`, `pane_title`. */
  knows(name: string): Promise<string>
  /** The settings of the terminal, as stty writes them; the shell must be waiting for a line. */
  stty(): Promise<string>
  /** A file that the shell has written into its folder; empty while there is none. */
  file(name: string): string
  /** The terminal is gone, as when its window is closed. */
  hangUp(): Promise<void>
}

const shownMs = 20_000

/** A shell that waits for its first line. */
export async function openPane({ columns, rows, env }: { columns: number; rows: number; env: Readonly<Record<string, string>> }): Promise<Pane> {
  const folder = await tempFolder()
  const socket = join(folder.path, 'tmux')
  const tmux = async (...args: readonly string[]): Promise<string> => (await promisify(execFile)('tmux', ['-S', socket, '-f', '/dev/null', ...args])).stdout
  const file = (name: string): string => {
    try {
      return readFileSync(join(folder.path, name), 'utf8')
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return ''
      throw error
    }
  }
    await tmux('new-session', '-d', '-x', String(columns), '-y', String(rows), '-c', folder.path, ...Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]), 'sh')
  const server = processOf(Number(await tmux('display-message', '-p', '#{pid}')))
  const screen = (): Promise<string> => tmux('capture-pane', '-p')
  const shows = async (pattern: RegExp): Promise<string> => {
    let last = ''
    await until(async () => pattern.test(last = await screen()), { withinMs: shownMs }).catch((cause: unknown) => {
      throw new Error(`the screen never showed ${String(pattern)}:\n${last}`, { cause })
    })
    return last
  }
  const press = async (...keys: readonly string[]): Promise<void> => void (await tmux('send-keys', ...keys))
  const type = async (line: string): Promise<void> => {
    await tmux('send-keys', '-l', line)
    await press('Enter')
  }
  let asked = 0
  const hangUp = async (): Promise<void> => {
    if (server === null || !isAlive(server)) return
    await tmux('kill-server').catch(() => undefined)
    await until(() => !isAlive(server), { withinMs: shownMs, what: 'tmux is gone' })
  }
  const close = async (): Promise<void> => {
    await hangUp()
    await folder[Symbol.asyncDispose]()
  }
  try {
    await shows(/^[$#]/)
  } catch (error) {
    await close()
    throw error
  }
  return {
    folder: folder.path, screen, shows, press, type, file, hangUp,
    resize: async (width, height) => void (await tmux('resize-window', '-x', String(width), '-y', String(height))),
    knows: async (name) => (await tmux('display-message', '-p', `#{${name}}`)).trimEnd(),
    async stty() {
      const name = `stty-${++asked}`
      await type(`stty -g >${name}.new; mv ${name}.new ${name}`)
      return until(() => file(name), { withinMs: shownMs, what: 'stty' })
    },
    [Symbol.asyncDispose]: close,
  }
}
