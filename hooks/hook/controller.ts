/** What hooks ask the controller. */
import { join } from 'node:path'
import { catalogue, VwnError, type ErrorCode } from '../../core/errors.ts'
import { getFromController, remoteIn } from '../../kit/controller-http.ts'
import { homeFolder } from '../bait-socket.ts'
import type { HookOptions } from './options.ts'

type Query = Readonly<Record<string, string | null>>

/** The answer to `GET path`, which is the controller's own and trusted in its shape; its refusals are failures of ours. Null asks for nothing. */
export async function fromController<T>(options: HookOptions, path: string, query: Query = {}): Promise<T> {
  const asked = new URLSearchParams(Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== null)).toString()
  const run = join(homeFolder(options.text('home')), 'run')
  const { status, text } = await getFromController(
    { controllerSocket: join(run, 'controller.sock'), controllerUrl: join(run, 'controller.url') }, remoteIn(process.env), asked === '' ? path : `${path}?${asked}`,
  )
  const body = parsed(text)
  if (status < 400 && body !== null) return body as T
  const { code, message } = (body ?? {}) as { code?: string; message?: string }
  throw new VwnError(code !== undefined && Object.hasOwn(catalogue, code) ? (code as ErrorCode) : 'CONTROLLER_STRANGE', { path, said: message })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return null
  }
}

/** This host's name in the farm: as told, else that of the bait whose socket is used here. */
export function hostOf(options: HookOptions, socket: string): string | null {
  return options.text('host') ?? /([^/]+)\.sock$/.exec(socket)?.[1] ?? null
}
