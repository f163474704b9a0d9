import type { Door } from '../../bait/starter-socket.ts'
import { service } from '../../kit/service.ts'

/** A door that nobody comes through. */
export const playedDoor = (): Door =>
  ({ ...service({ start: () => undefined, stop: () => undefined }), facts: () => ({ connections: 0, bytesRead: 0, bytesWritten: 0, refusals: new Map() }) })
