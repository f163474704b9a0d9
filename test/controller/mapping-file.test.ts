/** Mapping files: what is read out of them, and which line is blamed. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { resolveType, typeNamed } from '../../core/mapping.ts'
import { typeName } from '../../core/ids.ts'
import { isVwnError } from '../../core/errors.ts'
import { sealManifest } from '../../kit/image-store.ts'
import { readMapping } from '../../controller/mapping.ts'

const read = (text: string) => readMapping(text, 'mapping.yaml', null)

async function refusal(text: string): Promise<Record<string, unknown>> {
  const error: unknown = await read(text).then(() => null, (failed: unknown) => failed)
  if (!isVwnError(error, 'MAPPING_REFUSED')) throw new Error(`not refused: ${String(error)}`)
  return error.facts
}

test('the example is valid and means what it says', async () => {
  const { mapping, warnings } = await read(readFileSync(join(import.meta.dirname, '../../controller/mapping.example.yaml'), 'utf8'))
  expect(warnings).toEqual([])
  const who = { user: 'alice', groups: ['users', 'physics'], queue: 'night', project: null, batchSystem: 'slurm', requestedType: null }
  expect(resolveType(mapping, who)).toMatchObject({ is: 'matched', rule: { name: 'big jobs', limits: { perUser: 4 } }, type: { name: 'large', shape: { cpus: 4, memoryMib: 8192, scratchGib: 4 } } })
  expect(resolveType(mapping, { ...who, requestedType: typeName('standard') })).toMatchObject({ is: 'matched', type: { name: 'standard' } })
  expect(resolveType(mapping, { ...who, queue: 'test-7' })).toMatchObject({ is: 'matched', rule: { name: 'test queue' }, type: { name: 'tiny' } })
  expect(resolveType(mapping, { ...who, groups: ['users'] })).toMatchObject({ is: 'matched', rule: { name: 'default' }, type: { name: 'standard' } })
})

test('the example shows the defaults as they are', async () => {
  const { mapping } = await read(readFileSync(join(import.meta.dirname, '../../controller/mapping.example.yaml'), 'utf8'))
  const bare = await read('types: { standard: { image: debian12 } }\ndefault: { type: standard }\n')
  expect(typeNamed(mapping, typeName('standard'))).toEqual(typeNamed(bare.mapping, typeName('standard')))
})

test('rules say who runs on the host itself, and what becomes of a job whose host can start no guest', async () => {
  const { mapping, warnings } = await read('types: { a: { image: x } }\nrules:\n  - { name: short, match: { queue: short }, bare: true, allow: [a], limits: { per_user: 2 }, fallback: refuse }\n  - { name: any, match: { queue: any }, type: a, fallback: bare }\ndefault: { type: a }\n')
  expect(warnings).toEqual([])
  expect([...mapping.rules, mapping.default]).toMatchObject([
    { name: 'short', type: null, allow: ['a'], limits: { perUser: 2 }, fallback: 'refuse' }, { name: 'any', type: 'a', fallback: 'bare' }, { type: 'a', fallback: 'requeue' },
  ])
})

test('a pool is kept where the file says so, by demand if it says no more', async () => {
  const { mapping } = await read('types: { a: { image: x, pool: {} }, b: { image: x, pool: { min: 2, memory_share: 0.5 } }, c: { image: x } }\ndefault: { type: a, allow: [b, c] }\n')
  expect(mapping.types.map(({ pool }) => pool)).toEqual([{ min: 0, max: 10, memoryShare: 0.25 }, { min: 2, max: 10, memoryShare: 0.5 }, { min: 0, max: 0, memoryShare: 0 }])
})

test('what a type mounts, and where its jobs start', async () => {
  const { mapping } = await read("types:\n  a: { image: x, directory: stage, mounts: [{ nfs: 'filer.example:/export/home', at: /home }, { nfs: '[fe80::1]:/x', at: /x, port: 1, read_only: true, options: 'soft,timeo=50' }] }\ndefault: { type: a }\n")
  expect(mapping.types).toMatchObject([{ directory: 'stage', mounts: [
    { server: 'filer.example', path: '/export/home', at: '/home', port: 2049, readOnly: false, options: '' },
    { server: 'fe80::1', path: '/x', at: '/x', port: 1, readOnly: true, options: 'soft,timeo=50' },
  ] }])
})

test.each<[string, string, number | undefined, RegExp]>([
  ['no YAML at all', 'types: [', 1, /./],
  ['a tab', 'types:\n\ta: {}\n', 2, /./],
  ['a key twice', 'types:\n  a: { image: x }\n  a: { image: y }\ndefault: { type: a }\n', 3, /unique/i],
  ['an unknown top key', 'typs: {}\n', 1, /did you mean "types"/],
  ['an unknown key of a type', 'types:\n  a:\n    image: x\n    memory: 3\n', 4, /unknown key "memory"/],
  ['a misspelled condition', 'types: { a: { image: x } }\nrules:\n  - match:\n      usr: bob\n    type: a\n', 4, /did you mean "user"/],
  ['a misspelled limit', 'types: { a: { image: x } }\ndefault:\n  type: a\n  limits: { peruser: 1 }\n', 4, /did you mean "per_user"/],
  ['a value of the wrong kind', 'types:\n  a:\n    image: x\n    cpus: many\n', 4, /number/],
  ['a value out of bounds', 'types:\n  a:\n    image: x\n    cpus: 0\n', 4, /1/],
  ['an export that is none', 'types:\n  a:\n    image: x\n    mounts:\n      - { nfs: filer, at: /home }\n', 5, /server and the path that it exports/],
  ['a mount without a place', 'types:\n  a:\n    image: x\n    mounts:\n      - nfs: filer:/x\n', 5, /is missing/],
  ['a misspelled key of a mount', 'types:\n  a:\n    image: x\n    mounts:\n      - nfs: filer:/x\n        at: /home\n        readonly: true\n', 7, /did you mean "read_only"/],
  ['a mount over what the guest needs', 'types:\n  a:\n    image: x\n    mounts:\n      - nfs: filer:/x\n        at: /etc/x\ndefault: { type: a }\n', 6, /\/etc\/x would hide what is in \/etc/],
  ['two mounts in one place', 'types:\n  a:\n    image: x\n    mounts:\n      - { nfs: filer:/x, at: /home }\n      - { nfs: filer:/y, at: /home }\ndefault: { type: a }\n', 6, /mounted at \/home already/],
  ['an option that says where', 'types:\n  a:\n    image: x\n    mounts:\n      - { nfs: filer:/x, at: /home, options: "hard,addr=1" }\n', 5, /addr is none that a guest may have/],
  ['a directory that nobody knows', 'types:\n  a:\n    image: x\n    directory: here\n', 4, /is one of shared, stage, home$/],
  ['a shared directory without mounts', 'types:\n  a:\n    image: x\n    directory: shared\ndefault: { type: a }\n', 4, /has no `mounts`/],
  ['a misspelled key of a pool', 'types:\n  a:\n    image: x\n    pool: { memory_sharre: 1 }\n', 4, /did you mean "memory_share"/],
  ['a pool that keeps more than its most', 'types:\n  a:\n    image: x\n    pool:\n      max: 2\n      min: 3\ndefault: { type: a }\n', 6, /3 is more than max, 2/],
  ['a reuse that is true, as it once was', 'types:\n  a:\n    image: x\n    reuse: true\n', 4, /one of never, same-user, same-group, same-project: write same-user$/],
  ['a reuse that is false, as it once was', 'types:\n  a:\n    image: x\n    reuse: false\n', 4, /write never$/],
  ['a reuse that nobody knows', 'types:\n  a:\n    image: x\n    reuse: everybody\n', 4, /is one of never, same-user, same-group, same-project$/],
  ['no image', 'types:\n  a:\n    cpus: 1\n', 2, /is missing/],
  ['a bad type name', 'types:\n  "a b": { image: x }\ndefault: { type: x }\n', 2, /named by letters/],
  ['a rule with an unknown type', 'types: { a: { image: x } }\nrules:\n  - { type: a }\n  - { name: r, type: b }\n', 4, /no VWN type b/],
  ['an allowed type that is not there', 'types: { a: { image: x } }\ndefault:\n  type: a\n  allow: [a, c]\n', 4, /no VWN type c/],
  ['neither a type nor bare', 'types: { a: { image: x } }\nrules:\n  - match: { user: u }\n', 3, /is missing: the name of a VWN type, or `bare: true`/],
  ['bare that is false, and no type', 'types: { a: { image: x } }\ndefault:\n  bare: false\n', 2, /is missing/],
  ['a type, and bare', 'types: { a: { image: x } }\ndefault:\n  bare: true\n  type: a\n', 4, /contradicts `bare: true`/],
  ['bare, and something to fall back from', 'types: {}\ndefault:\n  bare: true\n  fallback: requeue\n', 4, /`bare: true` without `allow` gives none/],
  ['bare, and a limit of VWNs', 'types: {}\ndefault:\n  bare: true\n  limits: { per_user: 1 }\n', 4, /count VWNs/],
  ['a fallback that nobody knows', 'types: { a: { image: x } }\ndefault:\n  type: a\n  fallback: wait\n', 4, /is one of requeue, bare, refuse$/],
  ['bare as a type', 'types: { a: { image: x } }\ndefault:\n  type: bare\n', 3, /write `bare: true`/],
  ['a misspelled fallback', 'types: { a: { image: x } }\ndefault:\n  type: a\n  fallbck: bare\n', 4, /did you mean "fallback"/],
  ['a rule name twice', 'types: { a: { image: x } }\nrules:\n  - { name: r, type: a, match: { user: u } }\n  - { name: r, type: a }\n', 2, /called r/],
  ['nothing', '', undefined, /./],
  ['a list', '- a\n', undefined, /./],
  ['an alias bomb', `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'.split('').map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'.charAt(index)}`).join(',')}]\n`).join('')}`, undefined, /alias/],
  ['too much', `# ${'x'.repeat(1024 * 1024)}\n`, undefined, /larger/],
])('%s is refused with its line', async (_name, text, line, words) => {
  const facts = await refusal(text)
  if (line !== undefined) expect(facts['line']).toBe(line)
  expect(String(facts['problem'])).toMatch(words)
})

test('several mistakes are counted, the first one named', async () => {
  expect(await refusal('types:\n  a: { image: x, cpu: 1 }\n  b: { imag: x }\n')).toMatchObject({ line: 2, key: 'types.a.cpu', more: 2 })
})

test('what is valid but surely not meant is a warning with its line', async () => {
  const { warnings } = await read('types:\n  a: { image: x }\n  b: { image: x }\nrules:\n  - { name: all, type: a }\n  - { name: never, match: { user: u }, type: a }\n')
  expect(warnings).toEqual([expect.stringMatching(/^line 6: .*never reached/), expect.stringMatching(/^line 3: .*no rule gives type b/)])
})

test('an image that the store does not have is refused with its line, and taken once it is there', async () => {
  const store = mkdtempSync(join(tmpdir(), 'wnod-images-'))
  const part = { sha256: '0'.repeat(64), bytes: 1 }
  const add = (name: string, contact: 'agent' | 'ssh' = 'agent'): string => {
    const { bytes, digest } = sealManifest({
      v: 1, name, contact, arch: 'x86_64', hostKeyFormat: 'openssh', seed: 'boot', probe: contact === 'ssh' ? 'true' : null, parts: { os: part, kernel: part, initrd: part },
      recipe: '0'.repeat(64), kernelArgs: [], osUuid: '00000000-0000-4000-8000-000000000000', minMemoryMib: 64,
    })
    mkdirSync(join(store, digest), { recursive: true })
    writeFileSync(join(store, digest, 'manifest.json'), bytes)
    mkdirSync(join(store, 'names'), { recursive: true })
    writeFileSync(join(store, 'names', name), `${digest}\n`)
    return digest
  }
  const pinned = add('debian12')
  const text = `types:\n  a: { image: debian12 }\n  b:\n    image: el9\n  c: { image: ${pinned} }\ndefault: { type: a, allow: [b, c] }\n`
  await expect(readMapping(text, 'mapping.yaml', store)).rejects.toMatchObject({
    code: 'MAPPING_REFUSED', facts: { line: 4, key: 'types.b.image', problem: 'there is no OS image el9; there are debian12' },
  })
  add('el9')
  expect((await readMapping(text, 'mapping.yaml', store)).mapping.types).toHaveLength(3)
  expect((await readMapping(text, 'mapping.yaml', join(store, 'nowhere'))).mapping.types).toHaveLength(3)
  add('bare', 'ssh')
  await expect(readMapping("types:\n  a:\n    image: bare\n    mounts: [{ nfs: 'filer:/x', at: /home }]\ndefault: { type: a }\n", 'mapping.yaml', store)).rejects.toMatchObject({
    facts: { line: 4, key: 'types.a.mounts', problem: 'OS image bare has no agent, and only an agent mounts anything' },
  })
  rmSync(store, { recursive: true })
})
