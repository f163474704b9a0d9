/** Whether random bytes of several guests have anything in common. */

/**
 * How many runs of `length` bytes, at any offset, were seen before: in the same bytes or in those of another guest. Of random ones none,
 * with certainty for all purposes: 3 million runs of 16 bytes have 5·10¹² pairs, of which one in 3·10³⁸ is alike.
 */
export function sharedRuns(random: readonly Uint8Array[], length = 16): number {
  const seen = new Set<string>()
  let runs = 0
  for (const bytes of random) {
    const text = Buffer.from(bytes).toString('latin1')
    for (let at = 0; at + length <= text.length; at += 1) {
      runs += 1
      // A slice would keep hold of the whole text by a pointer each: this is a string of its own.
      seen.add(Buffer.from(text.slice(at, at + length), 'latin1').toString('latin1'))
    }
  }
  return runs - seen.size
}
