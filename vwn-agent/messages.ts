/**
 * Reads what the bait says. The bait is trusted and checks its own words against the schemas of wire/guest.ts; here only the shape
 * is checked, by hand, because loading a schema library would cost the guest's start half a second.
 */
import type { RunTask, ToAgent, ToPort } from '../wire/guest.ts'
import { guestVersion } from '../wire/guest-facts.ts'

/** The message of one line of the port; null when it is none. What makes a guest somebody or nobody is identity.c's. */
export function parseToPort(line: string): Exclude<ToPort, { kind: 'identity' | 'forget' }> | null {
  const message = parsed(line)
  if (!isRecord(message)) return null
  if (message['kind'] === 'ping' && isCount(message['n'])) return { kind: 'ping', n: message['n'] }
  if (message['kind'] === 'wake' && isCount(message['n']) && typeof message['nowMs'] === 'number') return { kind: 'wake', n: message['n'], nowMs: message['nowMs'] }
  return null
}

/** A control message of the job stream; null when it is none. */
export function parseControl(text: string): ToAgent | null {
  const message = parsed(text)
  if (!isRecord(message)) return null
  switch (message['kind']) {
    case 'run':
      return isRun(message) ? (message as unknown as RunTask) : null
    case 'clean':
      return message['v'] === guestVersion ? { kind: 'clean', v: guestVersion } : null
    case 'signal':
      return isText(message['signal']) ? { kind: 'signal', signal: message['signal'] } : null
    case 'resize': {
      const { rows, cols } = message
      return isCount(rows) && isCount(cols) ? { kind: 'resize', rows, cols } : null
    }
    default:
      return null
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isRun(message: Record<string, unknown>): boolean {
  const { identity, run } = message
  return message['v'] === guestVersion && isText(message['job']) && isRecord(identity) && isRecord(run) && Array.isArray(message['mounts']) &&
    isText(identity['user']) && isCount(identity['uid']) && isCount(identity['gid']) && isText(identity['group']) && Array.isArray(identity['groups']) &&
    isTexts(run['argv']) && run['argv'].length > 0 && isTexts(run['env']) && Array.isArray(run['limits']) && isCount(run['umask']) &&
    (run['cwd'] === null || isText(run['cwd'])) && (run['tty'] === null || isRecord(run['tty'])) &&
    (run['script'] === null || (isRecord(run['script']) && isText(run['script']['path']) && isText(run['script']['content'])))
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
const isText = (value: unknown): value is string => typeof value === 'string'
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText)
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0
