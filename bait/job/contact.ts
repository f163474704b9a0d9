/**
 * The way from a job's starter into one guest, whatever speaks there. The driver (drive.ts) decides, a contact carries out; it answers
 * by events, each at most once and in this order:
 *
 *   stage() ─▶ onStaged     run() ─▶ onStarted ─▶ onExited ─▶ onCollected           onFailed or onLost at any time, then nothing more
 */
import type { Mount } from '../../core/directory.ts'
import type { Failure } from '../../core/failure.ts'
import type { JobExit } from '../../core/job.ts'
import type { Usage } from '../../wire/common.ts'
import type { RunTask } from '../../wire/guest.ts'
import type { Log } from '../../kit/log.ts'
import type { ReadyVwn } from '../contracts.ts'
import type { StarterLink } from '../starter-socket.ts'

export interface ContactEvents {
  /** The working directory is in the guest; the job waits for `run`. */
  onStaged(): void
  onStarted(): void
  onExited(exit: JobExit, usage: Usage | null): void
  /** Every byte of output, and every changed file, is with the starter. */
  onCollected(): void
  /** It certainly did not run. */
  onFailed(failure: Failure): void
  /** Contact is gone for good: whether it ran, and how far, nobody can tell. */
  onLost(failure: Failure): void
}

export interface Contact {
  /** Brings the working directory in; with nothing to bring it is done at once. */
  stage(): void
  /** The point of no return: may be called once `onStaged` was. */
  run(): void
  /** A signal for the job's process group; without effect before `run`. */
  signal(name: string): void
  resize(size: { readonly rows: number; readonly cols: number }): void
  /** Lets go: what still runs of the job in the guest is killed. Resolves when the guest has heard it; safe to repeat. */
  close(): Promise<void>
  /** True once anything of the job may have reached the guest. */
  readonly touched: boolean
}

export interface ContactDeps {
  readonly place: ReadyVwn
  readonly link: StarterLink
  /** All but how the guest reaches what it mounts, which the contact arranges. */
  readonly task: RunTask
  readonly mounts: readonly Mount[]
  readonly on: ContactEvents
  readonly log: Log
}

export type OpenContact = (deps: ContactDeps) => Contact
