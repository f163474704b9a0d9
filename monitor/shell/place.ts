/** Where the reader is, in step with the address bar. */
import { signal } from '@preact/signals'
import { addressOf, placeOf, type Place } from '../model/place.ts'

export const place = signal<Place>(placeOf(location.search))

/** Shows another place. `replace`: without a step that the back button would take. */
export function go(change: Partial<Place>, { replace = false }: { readonly replace?: boolean } = {}): void {
  const next = { ...place.value, ...change }
  history[replace ? 'replaceState' : 'pushState'](null, '', addressOf(next))
  place.value = next
}

/** The address of a place that differs from this one so. */
export const linkTo = (change: Partial<Place>): string => addressOf({ ...place.value, ...change })

/** Links within the page and the back button do not load it again. */
export function followLinks(): void {
  addEventListener('popstate', () => { place.value = placeOf(location.search) })
  document.addEventListener('click', (event) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = event.target instanceof Element ? event.target.closest('a') : null
    if (link === null || link.origin !== location.origin || link.pathname !== '/' || link.hash !== '') return
    event.preventDefault()
    const before = place.value
    go(placeOf(link.search))
    if (before.page !== place.value.page || before.id !== place.value.id) {
      scrollTo(0, 0)
      document.querySelector('main')?.focus()
    }
  })
}
