import { spawnSync } from 'node:child_process'
import { VwnError } from '../../core/errors.ts'

const withinMs = 60_000
const bytesMax = 256 * 1024 * 1024

/** What one of the batch system's own commands says on stdout; COMMAND_MISSING, COMMAND_FAILED. */
export function saidBy(command: string, args: readonly string[]): string {
  const { error, status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: bytesMax, timeout: withinMs })
  if (error !== undefined && 'code' in error && error.code === 'ENOENT') throw new VwnError('COMMAND_MISSING', { command }, { cause: error })
  if (error !== undefined || status !== 0) throw new VwnError('COMMAND_FAILED', { command, exit: status, said: stderr.trim().slice(0, 500) }, { cause: error })
  return stdout
}
