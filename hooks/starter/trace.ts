import { readFileSync } from 'node:fs'

/**
 * The trace of this job: that of whatever has submitted it, where the environment says one as the W3C's trace context has it, else a new one. The kernel's
 * random numbers come as a file; node's own would have to be loaded first.
 */
export function traceOf({ TRACEPARENT: parent = '' }: NodeJS.ProcessEnv): string {
  const told = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/.exec(parent)?.[1]
  return told ?? readFileSync('/proc/sys/kernel/random/uuid', 'latin1').trim().replaceAll('-', '')
}
