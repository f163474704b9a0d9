/** Several diagrams side by side, each with its last word in writing. */
import type { JSX } from 'preact'
import type { Diagram } from '../model/times.ts'
import { Curve } from './curve.tsx'

/** `sparse`: their values are few and far between. */
export const Diagrams = ({ of, sparse = false }: { readonly of: readonly Diagram[]; readonly sparse?: boolean }): JSX.Element => (
  <div class="diagrams">
    {of.map(({ title, unit, names, lines, says }) => (
      <figure key={title}>
        <figcaption>{title} <span class="quiet">{unit}</span></figcaption>
        {names.length > 0 && <Curve key={names.join(' ')} of={lines} names={names} says={`${title}: ${says}`} sparse={sparse} />}
        <p class="quiet">{says}</p>
      </figure>
    ))}
  </div>
)
