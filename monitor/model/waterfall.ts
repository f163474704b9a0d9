/** A job's receipt as bars, one under the other, each where the one before ends. */

export interface Bar {
  readonly phase: string
  readonly ms: number
  /** Of the whole width, from 0 to 1. */
  readonly from: number
  readonly width: number
}

/** The bars of these phases; time that no phase explains comes last. They fill the width exactly, however short some are. */
export function waterfall(timeline: readonly { readonly phase: string; readonly ms: number }[], otherMs: number | null): readonly Bar[] {
  const parts = otherMs === null || otherMs === 0 ? timeline : [...timeline, { phase: 'other', ms: otherMs }]
  const whole = parts.reduce((sum, { ms }) => sum + ms, 0)
  let gone = 0
  return parts.map(({ phase, ms }) => {
    const bar = { phase, ms, from: whole === 0 ? 0 : gone / whole, width: whole === 0 ? 0 : ms / whole }
    gone += ms
    return bar
  })
}
