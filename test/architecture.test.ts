import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')

/** Who may import whom. Programs never import each other; they speak wire/. */
const allowed: Record<string, readonly string[]> = {
  core: [],
  wire: ['core'],
  kit: ['core'],
  db: ['kit', 'core'],
  hooks: ['wire', 'kit', 'core'],
  'vwn-agent': ['wire', 'kit', 'core'],
  bait: ['wire', 'kit', 'core'],
  images: ['wire', 'kit', 'core'],
  cli: ['wire', 'kit', 'core'],
  monitor: ['wire', 'core'],
  controller: ['db', 'wire', 'kit', 'core'],
  scripts: [],
}
/** Folders that import neither packages nor node's own modules. */
const pure = new Set(['core'])

const source = /\.(ts|mts|js|mjs|svelte|tsx)$/
const imported = /^\s*(?:import|export)\b[^'"]*?\bfrom\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm

function filesOf(folder: string): string[] {
  try {
    return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => source.test(file) && !file.includes('node_modules'))
      .map((file) => join(folder, file))
  } catch {
    return [] // a folder that does not exist yet imports nothing
  }
}

function importsOf(file: string): string[] {
  return [...readFileSync(join(root, file), 'utf8').matchAll(imported)].flatMap((match) => match[1] ?? match[2] ?? match[3] ?? [])
}

function offence(folder: string, file: string, target: string): string | null {
  if (!target.startsWith('.')) return pure.has(folder) ? `${file} imports ${target}: ${folder}/ is pure` : null
  const other = normalize(join(dirname(file), target)).split('/')[0] ?? ''
  if (other === folder || allowed[folder]?.includes(other)) return null
  return `${file} imports ${target}: ${folder}/ must not know ${other}/`
}

test.each(Object.keys(allowed))('%s/ imports only what it may', (folder) => {
  const offenders = filesOf(folder).flatMap((file) => importsOf(file).flatMap((target) => offence(folder, file, target) ?? []))
  expect(offenders).toEqual([])
})

test('an import in the wrong direction is an offence', () => {
  expect(offence('core', 'core/a.ts', 'node:fs')).toMatch(/pure/)
  expect(offence('core', 'core/a.ts', '../kit/clock.ts')).toMatch(/must not know kit/)
  expect(offence('bait', 'bait/disk/a.ts', '../../controller/b.ts')).toMatch(/must not know controller/)
  expect(offence('bait', 'bait/disk/a.ts', '../../kit/clock.ts')).toBeNull()
})
