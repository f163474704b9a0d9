/**
 * Cuts a byte stream from somebody we do not trust into lines. Keeps at most one partial line of `bytesMax`; a longer one is
 * dropped to its end and counted, and the next is read as if nothing had been.
 */
export class LineCutter {
  readonly #bytesMax: number
  #parts: Buffer[] = []
  #bytes = 0
  #skipping = false
  /** Lines that were longer than allowed. */
  dropped = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Calls `onLine` for each line that `chunk` completes, without its newline; empty ones are left out. */
  push(chunk: Buffer, onLine: (line: Buffer) => void): void {
    let from = 0
    for (let end = chunk.indexOf(10, from); end >= 0; end = chunk.indexOf(10, from)) {
      this.#keep(chunk.subarray(from, end))
      const line = this.#take()
      if (line !== null && line.length > 0) onLine(line)
      from = end + 1
    }
    this.#keep(chunk.subarray(from))
  }

  /** Forgets a line that has only begun: its sender is another one now. */
  reset(): void {
    this.#parts = []
    this.#bytes = 0
    this.#skipping = false
  }

  #keep(part: Buffer): void {
    if (part.length === 0 || this.#skipping) return
    this.#bytes += part.length
    this.#parts.push(part)
    if (this.#bytes <= this.#bytesMax) return
    this.reset()
    this.#skipping = true
    this.dropped += 1
  }

  #take(): Buffer | null {
    const line = this.#skipping ? null : Buffer.concat(this.#parts, this.#bytes)
    this.reset()
    return line
  }
}
