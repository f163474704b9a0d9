/** Every NATS subject of a farm. One prefix per farm, so that several can share a server. */
import type { HostId } from '../core/ids.ts'

const root = 'wnod'

/** Subjects and the permissions of each kind of program; nothing else ever names a subject. */
export const subjects = {
  /** bait → controller, request; answered with Orders. */
  report: (host: HostId): string => `${root}.report.${host}`,
  anyReport: `${root}.report.*`,
  /** controller → one bait. */
  orders: (host: HostId): string => `${root}.orders.${host}`,
  anyOrders: `${root}.orders.*`,
  /** controller → one bait, request; answered with what is to be seen there. */
  look: (host: HostId): string => `${root}.look.${host}`,
  anyLook: `${root}.look.*`,
  /** Prefix of the subjects where answers to requests of this program arrive; a private inbox per identity. */
  inbox: (program: string): string => `_INBOX.${program}`,
} as const

/** What a program may publish and subscribe; used when its credentials are made. */
export interface Permissions {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
  /** It may answer whoever has asked it, once and soon, wherever that waits for the answer. */
  readonly answers?: true
}

/** The least that a bait needs. */
export const baitPermissions = (host: HostId): Permissions => ({
  publish: [subjects.report(host)],
  subscribe: [subjects.orders(host), subjects.look(host), `${subjects.inbox(`bait-${host}`)}.>`],
  answers: true,
})

/** The least that the controller needs: it answers into the private inboxes of baits. */
export const controllerPermissions: Permissions = {
  publish: [subjects.anyOrders, subjects.anyLook, `${root}.feed.>`, '_INBOX.>', '$JS.API.>'],
  subscribe: [subjects.anyReport, `${subjects.inbox('controller')}.>`],
}
