/**
 * What a run of vitest leaves that is interrupted (^C, TERM, a terminal that goes): its tests cannot clear up any more, and farms, guests and batch
 * systems lead sessions of their own. So the process that runs them ends, when it goes, whatever is still of this run. A run that has come to its end
 * has nothing of it left.
 *
 *   a process is of the run    that names one of its folders (temp.ts), has its environment, or lives in a network of one of those alone
 */
import { readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProcesses, signalProcess, type ProcessRef } from '../../kit/process.ts'
import { folderMark, runVariable } from './temp.ts'

const [triesMax, pauseMs] = [80, 25]

/** Before all tests, in the process that runs them; once more for each project does no harm. */
export function setup(): void {
  process.once('SIGHUP', () => process.exit(129)) // INT and TERM are vitest's, and end in the same way
  process.once('exit', endRun)
}

function endRun(): void {
  const still = new Int32Array(new SharedArrayBuffer(4))
  for (let tries = 0, left = ofRun(); left.length > 0 && tries < triesMax; tries += 1, left = ofRun()) {
    for (const each of left) signalProcess(each, 'SIGKILL')
    Atomics.wait(still, 0, 0, pauseMs)
  }
  for (const name of readdirSync(tmpdir()).filter((each) => each.startsWith('wnod-') && each.includes(folderMark))) rmSync(join(tmpdir(), name), { recursive: true, force: true, maxRetries: 3 })
}

function ofRun(): readonly ProcessRef[] {
  const others = findProcesses((_args, pid) => pid !== process.pid)
  const named = others.filter(({ pid }) => [procFile(pid, 'cmdline').replaceAll('\0', ' '), procFile(pid, 'environ')].some((text) => text.includes(folderMark) || text.includes(`${runVariable}\0`)))
  const ours = networkOf(process.pid)
  const networks = new Set(named.map(({ pid }) => networkOf(pid)).filter((network) => network !== '' && network !== ours))
  return others.filter((each) => named.includes(each) || networks.has(networkOf(each.pid)))
}

function procFile(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return '' // it has ended
  }
}

function networkOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`)
  } catch {
    return ''
  }
}
