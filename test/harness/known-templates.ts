/**
 * A template takes seconds to make, and fits every farm of one test run: those that a farm has made are kept for the farms after it, which find
 * them in their homes as if their baits had made them before. Linked, not copied: nobody writes to a template.
 */
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { templateFileNames, templateIdPattern } from '../../bait/templates/files.ts'
import { folderOfRun } from './temp.ts'

/** Of one run; empty where somebody else runs these tests. */
const known = process.env['WNOD_TEST_RUN'] === undefined ? '' : folderOfRun('templates')

/** Before all tests, in the process that runs them, once for each project that needs it. */
export const setup = (): void => void mkdirSync(known, { mode: 0o700, recursive: true })

/** After all tests. */
export const teardown = (): void => rmSync(known, { recursive: true, force: true })

/** What is known goes into this `templates/` of a home. */
export const giveTemplates = (to: string): void => pass(known, to)

/** What is whole in this `templates/` of a home is known from now on. */
export const keepTemplates = (from: string): void => pass(from, known)

function pass(from: string, to: string): void {
  if (known === '') return
  const there = new Set(idsIn(to))
  for (const id of idsIn(from)) if (!there.has(id)) passOne(join(from, id), to, id)
}

/** Whole in one step, as a bait does it. The manifest is a copy: its time of change says when this home's bait has used it. */
function passOne(template: string, to: string, id: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 })
  const beside = mkdtempSync(join(to, 'passing-'))
  for (const name of templateFileNames) (name === 'manifest.json' ? copyFileSync : linkSync)(join(template, name), join(beside, name))
  renameSync(beside, join(to, id))
}

function idsIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => templateIdPattern.test(name))
  } catch {
    return []
  }
}
