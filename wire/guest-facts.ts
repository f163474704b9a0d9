/** The plain facts of wire/guest.ts, apart from the schemas: the agent takes them without the schema library, which would triple its start. */

export const guestVersion = 1
export const agentPortName = 'org.wnod.agent'
/** The agent's job socket in the guest; only root may connect. */
export const agentSocketPath = '/run/wnod/agent.sock'
/** What every scrub by an agent looks at, and says so: a report that leaves one out proves nothing. After jobs of root there are more. */
export const scrubChecks = ['processes', 'cgroups', 'mounts', 'ipc', 'keys', 'files', 'upper', 'sockets', 'memory'] as const
/** Longest line on the virtio port. */
export const portLineBytesMax = 64 * 1024
