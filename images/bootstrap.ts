/** Debian's part of an image: packages unpacked by mmdebstrap into a tar, with the kernel's package beside them. */
import { execa } from 'execa'
import { VwnError } from '../core/errors.ts'
import { run, tail } from '../kit/command.ts'
import type { Recipe } from './recipe.ts'

/** Where the kernel's files lie in the tar, out of the way of the image's root. */
export const asideFolder = '.wnod'

/** Every time stamp of an image, in seconds: no file of it is newer. */
export const epoch = 1_735_689_600

export interface Bootstrap {
  readonly recipe: Recipe
  /** One-line sources, as `debianSources` gives them. */
  readonly sources: readonly string[]
  readonly tar: string
}

const deadlineMs = 20 * 60_000

/** The tar is there afterwards; IMAGE_BUILD_FAILED with mmdebstrap's last words otherwise. Each of its own lines is passed to `say`. */
export async function bootstrap(what: Bootstrap, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  const settings = await aptSettings()
  const words: string[] = []
  try {
    const child = execa('mmdebstrap', [...bootstrapArgs(what, settings)], {
      stdin: 'ignore',
      stdout: 'ignore',
      env: { SOURCE_DATE_EPOCH: String(epoch) },
      timeout: deadlineMs,
      forceKillAfterDelay: 10_000,
      cancelSignal: signal,
    })
    for await (const line of child.iterable({ from: 'stderr' })) {
      words.push(line)
      if (words.length > 40) words.shift()
      if (line.startsWith('I: ')) say(line.slice(3))
    }
    await child
  } catch (cause) {
    if (signal.aborted) throw new VwnError('CANCELLED', { step: 'mmdebstrap' }, { cause: signal.reason })
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') throw new VwnError('COMMAND_MISSING', { command: 'mmdebstrap' })
    throw new VwnError('IMAGE_BUILD_FAILED', { step: 'mmdebstrap', said: tail(words.filter((line) => !line.startsWith('I: ')).join('\n')) })
  }
}

/** mmdebstrap's command line. Its mode is left to it: as root, or in a user namespace. */
export function bootstrapArgs({ recipe, sources, tar }: Bootstrap, aptOptions: readonly string[] = []): readonly string[] {
  return [
    '--mode=auto', '--format=tar', `--variant=${recipe.variant}`, `--include=${recipe.packages.join(',')}`,
    ...['APT::Install-Recommends "false"', ...aptOptions].map((option) => `--aptopt=${option}`),
    ...recipe.leaveOut.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
    `--extract-hook=${kernelHook(recipe.kernel)}`,
    recipe.suite, tar, ...sources,
  ]
}

/** Unpacks the kernel that the package depends on without installing it: no boot loader, no initramfs tools in the image. */
const kernelHook = (kernel: string): string => `set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
mkdir "$1/${asideFolder}" && cd "$1/${asideFolder}"
package=$(apt-cache depends ${kernel} | sed -n 's/^ *Depends: \\(linux-image-[0-9].*\\)$/\\1/p' | head -n1)
apt-get download -qq "$package" >&2
for deb in *.deb; do dpkg-deb -x "$deb" . && rm "$deb"; done`

/** The host's way to the outside counts for the image as well. */
async function aptSettings(): Promise<readonly string[]> {
  const { stdout } = await run('apt-config', ['dump']).catch(() => ({ stdout: '' }))
  return stdout.split('\n').filter((line) => /^Acquire::(https?::Proxy|Check-Valid-Until|Check-Date) "[^"]+";$/.test(line)).map((line) => line.slice(0, -1))
}
