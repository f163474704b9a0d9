/** Answers a failure of one undo step; the others run all the same. */
export type UndoFailed = (step: string, error: unknown) => void

interface Step {
  readonly what: string
  readonly run: () => unknown
}

/**
 * What to take back, last thing first, unless `release` says that all went well.
 *
 *     await using undo = new Undo()
 *     const overlay = await disk.overlay(spec)
 *     undo.push('overlay', () => overlay.remove())
 *     …
 *     undo.release()                                    // ownership passes to the caller
 */
export class Undo implements AsyncDisposable {
  #steps: Step[] = []
  readonly #failed: UndoFailed | undefined

  /** Without `failed`, what goes wrong while undoing is thrown at the end, as one error. */
  constructor(failed?: UndoFailed) {
    this.#failed = failed
  }

  push(what: string, run: () => unknown): void {
    this.#steps.push({ what, run })
  }

  /** Forgets every step. */
  release(): void {
    this.#steps = []
  }

  /** Takes everything back, once; calling it again does nothing. */
  async undo(): Promise<void> {
    const steps = this.#steps.reverse()
    this.#steps = []
    const errors: unknown[] = []
    for (const step of steps) {
      try {
        await step.run()
      } catch (error) {
        if (this.#failed === undefined) errors.push(new Error(`undoing ${step.what} failed`, { cause: error }))
        else this.#failed(step.what, error)
      }
    }
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors, 'undoing failed')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.undo()
  }
}
