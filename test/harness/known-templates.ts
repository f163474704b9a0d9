/**
 * A template takes seconds to make, and fits every farm of one test run: those that a farm has made are kept for the farms after it, which find
 * them in their homes as if their baits had made them before. Linked where it can be: nobody writes to a template. Those of the usual types
 * are made once, before the first farm that wants any.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { templateFileNames, templateIdPattern } from '../../bait/templates/files.ts'
import { errnoOf } from '../../kit/atomic-file.ts'
import { until } from '../../kit/until.ts'
import { folderOfRun } from './temp.ts'

/** Of one run; empty where somebody else runs these tests. */
const known = process.env['WNOD_TEST_RUN'] === undefined ? '' : folderOfRun('templates')

/** Before all tests, in the process that runs them, once for each project that needs it. */
export const setup = (): void => void mkdirSync(known, { mode: 0o700, recursive: true })

/** After all tests. */
export const teardown = (): void => rmSync(known, { recursive: true, force: true })

const [making, made] = [join(known, 'making'), join(known, 'made')]
const makingMs = 200_000

/** Resolves when this was done in this run, by us or by whoever came first; what has failed is left to each farm. */
export async function onceInRun(make: () => Promise<void>): Promise<void> {
  if (known === '' || existsSync(made)) return
  try {
    mkdirSync(making)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    await until(() => existsSync(made), { withinMs: makingMs, everyMs: 100, what: 'templates of the usual types are made' })
    return
  }
  try {
    await make()
  } finally {
    writeFileSync(made, '')
  }
}

/** What is known goes into this `templates/` of a home. */
export function giveTemplates(to: string): void {
  for (const id of idsIn(known)) pass(join(known, id), to, id, linkSync)
}

/** What is whole in this `templates/` of a home is known from now on. */
export function keepTemplates(from: string): void {
  if (known === '') return
  const there = new Set(idsIn(known))
  for (const id of idsIn(from)) if (!there.has(id)) pass(join(from, id), known, id, withItsDisk)
}

/** Whole in one step, as a bait does it. The manifest is a copy: its time of change says when this home's bait has used it. */
function pass(template: string, to: string, id: string, passDisk: (from: string, to: string) => void): void {
  mkdirSync(to, { recursive: true, mode: 0o700 })
  const beside = mkdtempSync(join(to, 'passing-'))
  const ways: Readonly<Record<string, (from: string, to: string) => void>> = { 'manifest.json': copyFileSync, 'scratch.qcow2': passDisk }
  for (const name of templateFileNames) (ways[name] ?? linkSync)(join(template, name), join(beside, name))
  try {
    renameSync(beside, join(to, id))
  } catch (error) {
    rmSync(beside, { recursive: true })
    if (!existsSync(join(to, id))) throw error // another farm of this run was first
  }
}

/** A template's disk lies over the empty one of its home, which goes with that home: kept is a copy, over a disk that stays. */
function withItsDisk(from: string, to: string): void {
  const { 'full-backing-filename': pristine } = diskSchema.parse(JSON.parse(execFileSync('qemu-img', ['info', '-U', '--output=json', from], { encoding: 'utf8' })))
  const kept = join(known, `${basename(dirname(pristine))}-${statSync(pristine).ino}.ext4`)
  if (!existsSync(kept)) linkSync(pristine, kept)
  copyFileSync(from, to)
  execFileSync('qemu-img', ['rebase', '-u', '-F', 'raw', '-b', kept, to])
}

const diskSchema = z.object({ 'full-backing-filename': z.string() })

function idsIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => templateIdPattern.test(name))
  } catch {
    return []
  }
}
