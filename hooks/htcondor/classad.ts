/**
 * The ClassAds that HTCondor leaves beside a job, as text: one `Name = expression` per line. Only plain values are read (strings, whole numbers, true and
 * false): an expression would have to be evaluated, and a job's owner writes what he likes. Names know no case.
 */

export type AdValue = string | number | boolean
/** Null: there is an expression that we do not read. */
export type Ad = ReadonlyMap<string, AdValue | null>

/** An ad is small; whatever is beyond is not looked at. */
const linesMax = 10_000

/** Plain values by their names in small letters; of a name that comes twice, the last. */
export function parseAd(text: string): Ad {
  const ad = new Map<string, AdValue | null>()
  for (const line of text.split('\n', linesMax)) {
    const equals = line.indexOf('=')
    const name = line.slice(0, Math.max(0, equals)).trim()
    if (/^[A-Za-z_][\w.]{0,255}$/.test(name)) ad.set(name.toLowerCase(), plain(line.slice(equals + 1).trim()))
  }
  return ad
}

function plain(expression: string): AdValue | null {
  if (/^-?\d{1,15}$/.test(expression)) return Number(expression)
  if (/^(true|false)$/i.test(expression)) return expression.toLowerCase() === 'true'
  const quoted = /^"((?:[^"\\]|\\.)*)"$/s.exec(expression)?.[1]
  return quoted === undefined ? null : quoted.replace(/\\(["\\])/g, '$1')
}

/** A string of this name that is not empty and would do as a name of ours; null otherwise. */
export function nameIn(ad: Ad, name: string): string | null {
  const value = ad.get(name.toLowerCase())
  return typeof value === 'string' && /^[\w.@+:-]{1,256}$/.test(value) ? value : null
}

/** A whole number above zero; null otherwise. */
export function countIn(ad: Ad, name: string): number | null {
  const value = ad.get(name.toLowerCase())
  return typeof value === 'number' && value > 0 ? value : null
}
