import { chooseImageStore } from '../kit/image-store.ts'
import { remoteIn } from '../kit/controller-http.ts'
import { chooseHome, homePaths, type Home } from '../kit/paths.ts'
import { controllerApi, type Api } from './client.ts'

/** What every command is handed: where the farm's home is, whom to ask, and how to say it. */
export interface Context {
  readonly home: Home
  readonly api: Api
  readonly json: boolean
  /** Columns of the terminal, or null where output goes elsewhere. */
  readonly width: number | null
  /** Data, on stdout. */
  print(text: string): void
  /** Words, on stderr. */
  say(text: string): void
}

/** A context from the options of a command and the environment, which is read here only. */
export function makeContext(options: { home?: string | undefined; json?: boolean | undefined }): Context {
  const home = findHome(options.home)
  return {
    home,
    api: controllerApi(home, remoteIn(process.env)),
    json: options.json ?? false,
    width: process.stdout.isTTY ? process.stdout.columns : null,
    print: (text) => void process.stdout.write(text),
    say: (text) => void process.stderr.write(`${text}\n`),
  }
}

/** The home as told, else as the environment says, with the image store that goes with it. */
export function findHome(told: string | undefined): Home {
  const folder = chooseHome(told, process.env)
  return homePaths(folder, { images: chooseImageStore(folder, process.env) })
}

/** Prints a value as JSON where that was asked for, else as people read it. */
export function show<T>(context: Context, value: T, words: (value: T) => string): void {
  context.print(context.json ? `${JSON.stringify(value, null, 2)}\n` : words(value))
}
