/** The plain facts of wire/guest.ts, apart from the schemas: the agent takes them without the schema library, which would triple its start. */

export const guestVersion = 1
export const agentPortName = 'org.wnod.agent'
/** The agent's job socket in the guest; only root may connect. */
export const agentSocketPath = '/run/wnod/agent.sock'
/** Longest line on the virtio port. */
export const portLineBytesMax = 64 * 1024
