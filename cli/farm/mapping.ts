import { VwnError } from '../../core/errors.ts'
import { imageStore } from '../../kit/image-store.ts'

/** An image of the store, as far as a mapping needs to know it. */
export interface NamedImage {
  readonly name: string
  readonly contact: 'agent' | 'ssh'
  readonly minMemoryMib: number
}

/** What in the image store has a name; IMAGE_NOT_FOUND when that is nothing. */
export async function namedImages(store: string): Promise<readonly NamedImage[]> {
  const { images } = await imageStore(store).list()
  const named = images.flatMap(({ names, manifest }) => names.map((name) => ({ name, contact: manifest.contact, minMemoryMib: manifest.minMemoryMib })))
  if (named.length === 0) throw new VwnError('IMAGE_NOT_FOUND', { store, why: 'no image was built yet' })
  return named
}

/** The mapping of a local farm: a type per image, everybody gets the first and may ask for the others. */
export function defaultMapping(images: readonly NamedImage[]): string {
  const [first, ...others] = [...images].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
  if (first === undefined) throw new Error('a mapping needs an image')
  const type = (image: NamedImage): string => `  ${image.name}:
    image: ${image.name}
    cpus: 1
    memory_mib: ${Math.max(image.contact === 'agent' ? 512 : 128, image.minMemoryMib)}
    scratch_gib: ${image.contact === 'agent' ? 4 : 1}
`
  return `# Which VWN type a job gets: the first rule that matches decides. Read again whenever it changes; a file with a mistake is
# refused as a whole and the one before stays in force (\`wnod types\` says so). Every key: controller/mapping.example.yaml
types:
${[first, ...others].map(type).join('')}
rules: []
  # - name: big jobs
  #   match: { queue: big, groups: [physics, chemistry] }
  #   type: ${first.name}
  #   limits: { per_user: 4 }

# For jobs that no rule matches. A user may ask for the types of \`allow\` by name (\`wnod run --type\`).
default:
  type: ${first.name}
  allow: [${others.map((image) => image.name).join(', ')}]
`
}

/** Images with our agent are what most jobs want. */
const rank = (image: NamedImage): number => (image.contact === 'agent' ? 0 : 1)
