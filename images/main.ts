/** `wnod image`: makes, lists, checks and removes OS images. */
import { join } from 'node:path'
import { Command, CommanderError } from 'commander'
import { catalogue, explain, VwnError, vwnErrorIn } from '../core/errors.ts'
import { chooseHome } from '../kit/paths.ts'
import { chooseImageStore, imageStore, type StoredImage } from '../kit/image-store.ts'
import { version } from '../kit/version.ts'
import { withProgress } from '../kit/progress.ts'
import { buildImage } from './build.ts'
import { removeImage } from './store.ts'

const project = join(import.meta.dirname, '..')

interface Common {
  readonly store?: string
  readonly home?: string
  readonly json?: boolean
}

const say = (line: string): void => void process.stderr.write(`image: ${line}\n`)
const print = (text: string): void => void process.stdout.write(`${text}\n`)

const program = new Command('wnod image')
  .description('Makes, lists, checks and removes OS images.')
  .version(version)
  .exitOverride()
  .showHelpAfterError('hint: `wnod image --help` shows every command')

const command = (usage: string, description: string): Command =>
  program
    .command(usage)
    .description(description)
    .option('--json', 'print JSON')
    .option('--store <dir>', 'the image store (default: WNOD_IMAGES, else that of the home, else the user\'s own)')
    .option('--home <dir>', 'the farm whose image store is meant (default: WNOD_HOME)')

const storeOf = ({ store, home }: Common): string => store ?? chooseImageStore(chooseHome(home, process.env), process.env)

command('build <recipe...>', 'make the images of these recipes, where they have changed')
  .option('--fresh', "take today's packages, whatever was built before")
  .option('--agent <file>', 'another bundle of the agent', join(project, 'dist/agent.cjs'))
  .action(async (recipes: string[], options: Common & { fresh?: boolean; agent: string }) => {
    const stop = new AbortController()
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort(new Error(name)))
    const results = []
    for (const recipe of recipes) {
      const { image, built, tookMs } = await buildImage(recipe, {
        store: storeOf(options), project, agent: options.agent, fresh: options.fresh ?? false, say, signal: stop.signal,
        sources: process.env['WNOD_DEBIAN_SOURCES'],
      })
      say(`${image.manifest.name}: ${built ? 'built' : 'unchanged'} in ${(tookMs / 1000).toFixed(1)} s`)
      results.push({ recipe, name: image.manifest.name, digest: image.digest, built, tookMs })
    }
    print(options.json ? JSON.stringify(results, null, 2) : results.map(({ name, digest }) => `${name} ${digest}`).join('\n'))
  })

command('ls', 'the images of the store').action(async (options: Common) => {
  const { images, broken } = await imageStore(storeOf(options)).list()
  if (options.json) {
    const rows = images.map((image) => ({ digest: image.digest, names: image.names, folder: image.folder, ...image.manifest }))
    print(JSON.stringify({ images: rows, broken: broken.map(({ digest, why }) => ({ digest, code: why.code, message: explain(why) })) }, null, 2))
    return
  }
  for (const image of images) print(row(image))
  for (const { digest, why } of broken) print(`${digest}  broken: ${explain(why)}`)
})

const row = ({ digest, names, manifest }: StoredImage): string => {
  const mib = Object.values(manifest.parts).reduce((sum, part) => sum + part.bytes, 0) / 1024 / 1024
  return `${digest}  ${(names.join(',') || `(was ${manifest.name})`).padEnd(16)} ${manifest.contact.padEnd(5)} ${String(Math.ceil(mib)).padStart(5)} MiB`
}

command('verify [image...]', 'hash every part again and compare; without a name, all of them').action(async (wanted: string[], options: Common) => {
  const store = imageStore(storeOf(options))
  const { images, broken } = await store.list()
  const all = [...images, ...broken].map((image): string => image.digest)
  const results = []
  for (const name of wanted.length > 0 ? wanted : all) {
    const failure = await withProgress(`hashing ${name}`, () => store.verify(name, { afresh: true }).then(() => null, expected))
    results.push({ image: name, ok: failure === null, code: failure?.code ?? null, message: failure === null ? null : explain(failure) })
  }
  print(options.json ? JSON.stringify(results, null, 2) : results.map(({ image, ok, message }) => `${image}  ${ok ? 'ok' : message}`).join('\n'))
  if (results.some(({ ok }) => !ok)) process.exitCode = 1
})

command('rm [image...]', 'remove images')
  .option('--yes', 'also those that have a name')
  .option('--unnamed', 'all images that no name stands for any more')
  .action(async (wanted: string[], options: Common & { yes?: boolean; unnamed?: boolean }) => {
    const folder = storeOf(options)
    const store = imageStore(folder)
    const { images, broken } = await store.list()
    const unnamed = options.unnamed ? images.filter((image) => image.names.length === 0) : []
    const named = await Promise.all(wanted.map(async (name) => broken.find(({ digest }) => digest === name) ?? (await store.find(name))))
    const inUse = named.find((image) => 'names' in image && image.names.length > 0)
    if (inUse !== undefined && 'names' in inUse && !options.yes) throw new VwnError('IMAGE_IN_USE', { image: inUse.digest, names: inUse.names.join(' ') })
    const removed = [...new Set([...unnamed, ...named].map((image) => image.digest))]
    for (const digest of removed) await removeImage(folder, digest)
    print(options.json ? JSON.stringify({ removed }, null, 2) : removed.map((digest) => `removed ${digest}`).join('\n'))
  })

function expected(error: unknown): VwnError {
  if (error instanceof VwnError) return error
  throw error
}

/** Says a failure once; answers the exit status that belongs to it. */
function sayFailure(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  const failure = vwnErrorIn(error)
  if (failure === null) {
    say(`a bug of ours: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
    return 70
  }
  say(`${explain(error)} (${failure.code})\nhint: ${catalogue[failure.code].hint}`)
  return failure.entry.exit
}

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = sayFailure(error)
}
