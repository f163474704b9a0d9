/** The first `count` of these as sorting all of them would bring; quick where few of many are asked for, and where they nearly are in that order. */
export function firstOf<T>(rows: Iterable<T>, count: number, compare: (a: T, b: T) => number): T[] {
  const first: T[] = []
  for (const row of rows) {
    const last = first.at(-1)
    if (first.length === count && last !== undefined && compare(row, last) >= 0) continue
    first.splice(first.findLastIndex((other) => compare(other, row) <= 0) + 1, 0, row)
    if (first.length > count) first.pop()
  }
  return first
}
