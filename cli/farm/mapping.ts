import { z } from 'zod'
import { run } from '../../kit/command.ts'
import { contactSchema } from '../../wire/bait.ts'
import { digestSchema } from '../../wire/common.ts'
import { VwnError } from '../../core/errors.ts'
import { programFile } from '../programs.ts'

const storedImageSchema = z.object({ name: z.string(), digest: digestSchema, contact: contactSchema })
/** An image of the store, as far as a mapping needs to know it. */
export type StoredImage = z.output<typeof storedImageSchema>
const listSchema = z.object({ images: z.array(storedImageSchema) })

/** What is in the image store; IMAGE_NOT_FOUND when that is nothing. */
export async function storedImages(store: string): Promise<readonly StoredImage[]> {
  const { stdout } = await run(process.execPath, [programFile('image.js'), 'ls', '--json'], { env: { WNOD_IMAGES: store }, timeoutMs: 30_000 })
  const { images } = listSchema.parse(JSON.parse(stdout))
  if (images.length === 0) throw new VwnError('IMAGE_NOT_FOUND', { store, why: 'it is empty: `wnod image build debian12 tiny` fills it' })
  return images
}

/** The mapping of a local farm: a type per image, everybody gets the first and may ask for the others. */
export function defaultMapping(images: readonly StoredImage[]): string {
  const names = [...new Set(images.map((image) => image.name))].sort((a, b) => rank(images, a) - rank(images, b) || (a < b ? -1 : 1))
  const [first, ...others] = names
  const type = (name: string): string => {
    const small = contactOf(images, name) === 'ssh'
    return `  ${name}:
    image: ${name}
    cpus: 1
    memory_mib: ${small ? 128 : 512}
    scratch_gib: ${small ? 1 : 4}
    idle_max_s: 300
`
  }
  return `# Which VWN type a job gets: the first rule that matches decides. Read again whenever it changes; a file with a mistake is
# refused as a whole and the one before stays in force (\`wnod types\` says so). Every key: docs/mapping.md
types:
${names.map(type).join('')}
rules: []
  # - name: big jobs
  #   match: { queue: big, group: [physics, chemistry] }
  #   type: ${first ?? 'TYPE'}
  #   limits: { per_user: 4 }

# For jobs that no rule matches. A user may ask for the types of \`allow\` by name (\`wnod run --type\`).
default:
  type: ${first ?? 'TYPE'}
  allow: [${others.join(', ')}]
`
}

/** Images with our agent are what most jobs want. */
const rank = (images: readonly StoredImage[], name: string): number => (contactOf(images, name) === 'agent' ? 0 : 1)
const contactOf = (images: readonly StoredImage[], name: string): string | undefined => images.find((image) => image.name === name)?.contact
