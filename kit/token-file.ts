/** The secret that readers of the controller's HTTP API show it. */
import { readFileSync } from 'node:fs'
import { VwnError } from '../core/errors.ts'

const fit = /^[A-Za-z0-9._~+/=-]{16,256}$/

/** The token in this file; FILE_UNREADABLE or HTTP_TOKEN_UNFIT. */
export function readTokenFile(file: string): string {
  const token = read(file).trim()
  if (!fit.test(token)) throw new VwnError('HTTP_TOKEN_UNFIT', { file })
  return token
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new VwnError('FILE_UNREADABLE', { file }, { cause })
  }
}
