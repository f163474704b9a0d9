/** What a job asks of a host and what a host can give. Whole numbers only, so that sums never drift. */
export interface Amount {
  readonly cpus: number
  readonly memoryMib: number
  readonly scratchGib: number
}

/** Nothing at all; where sums start. */
export const noAmount: Amount = { cpus: 0, memoryMib: 0, scratchGib: 0 }

/** Component-wise sum. */
export const add = (a: Amount, b: Amount): Amount =>
  ({ cpus: a.cpus + b.cpus, memoryMib: a.memoryMib + b.memoryMib, scratchGib: a.scratchGib + b.scratchGib })

/** Component-wise difference; may be negative where more was taken than there is. */
export const subtract = (a: Amount, b: Amount): Amount =>
  ({ cpus: a.cpus - b.cpus, memoryMib: a.memoryMib - b.memoryMib, scratchGib: a.scratchGib - b.scratchGib })

/** So many times the same. */
export const times = (amount: Amount, count: number): Amount =>
  ({ cpus: count * amount.cpus, memoryMib: count * amount.memoryMib, scratchGib: count * amount.scratchGib })

/** The names of the components of `want` that `free` cannot give; empty when it fits. */
export function shortOf(want: Amount, free: Amount): readonly (keyof Amount)[] {
  const names = ['cpus', 'memoryMib', 'scratchGib'] as const
  return names.filter((name) => want[name] > free[name])
}

/** True when `free` can give all of `want`. */
export const fits = (want: Amount, free: Amount): boolean => shortOf(want, free).length === 0

/** True when both are the same in every component. */
export const sameAmount = (a: Amount, b: Amount): boolean => a.cpus === b.cpus && a.memoryMib === b.memoryMib && a.scratchGib === b.scratchGib

/** The same but for its processors. */
export const withoutCpus = (amount: Amount): Amount => ({ ...amount, cpus: 0 })
