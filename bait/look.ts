/** What the controller may ask of a VWN of this host while somebody looks at it. */
import type { VwnId } from '../core/ids.ts'
import type { HostPaths } from '../kit/paths.ts'
import type { Look } from '../wire/look.ts'
import type { Samples } from './samples.ts'
import { readSerial } from './serial-log.ts'

export interface Looked {
  readonly samples: Pick<Samples, 'of'>
  readonly paths: Pick<HostPaths, 'vm'>
  readonly isHere: (vwn: VwnId) => boolean
}

/** The answer; null for a VWN that is not here. */
export async function lookAt(look: Look, { samples, paths, isHere }: Looked): Promise<object | null> {
  if (!isHere(look.vwn)) return null
  if (look.at === 'samples') return { samples: samples.of(look.vwn, look.sinceMs) }
  return readSerial(paths.vm(look.vwn).serialLog, look.from, look.bytesMax)
}
