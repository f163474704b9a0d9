import { portLineBytesMax } from '../wire/guest-facts.ts'

interface LineCutter {
  push(bytes: Buffer): void
  readonly dropped: number
}

/** Cuts bytes into lines of bounded length; a line that is too long, or that `onLine` refuses, is counted and dropped. */
export function lineCutter(onLine: (line: string) => boolean, bytesMax: number = portLineBytesMax): LineCutter {
  let kept: Buffer[] = []
  let keptBytes = 0
  let dropped = 0
  const keep = (bytes: Buffer): void => {
    keptBytes += bytes.length
    if (keptBytes > bytesMax) kept = []
    else if (bytes.length > 0) kept.push(Buffer.from(bytes))
  }
  return {
    push(bytes) {
      let from = 0
      for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
        keep(bytes.subarray(from, at))
        from = at + 1
        if (keptBytes > bytesMax || !onLine(Buffer.concat(kept).toString('utf8'))) dropped += 1
        kept = []
        keptBytes = 0
      }
      keep(bytes.subarray(from))
    },
    get dropped() {
      return dropped
    },
  }
}
