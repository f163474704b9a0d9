import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bootId, commandLine, findProcesses, isAlive, killAndWait, parseStat, processOf, usageOf, type ProcessRef } from '../../kit/process.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from '../harness/temp.ts'

/** A child that is killed when the scope is left. */
function child(script: string): Disposable & { readonly process: ChildProcess; readonly pid: number } {
  const spawned = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  return { process: spawned, pid: spawned.pid ?? 0, [Symbol.dispose]: () => void spawned.kill('SIGKILL') }
}

const refOf = (pid: number): Promise<ProcessRef> => until(() => processOf(pid), { withinMs: 5_000, what: `process ${pid}` })
const says = (process: ChildProcess): Promise<string> => new Promise((resolve) => process.stdout?.once('data', (data) => resolve(String(data))))

test('a name with blanks and parentheses does not shift the fields', () => {
  const after = Array.from({ length: 30 }, (_, index) => String(index + 5)).join(' ')
  expect(parseStat(`42 (evil) S 1 ) (x) S 7 ${after}`)).toEqual({ state: 'S', parent: 7, cpuTicks: 14 + 15, threads: 20, startTicks: 22 })
  expect(parseStat('')).toBeNull()
  expect(parseStat('42 (cut) S')).toBeNull()
})

test('a process is known by pid and start', () => {
  const self = processOf(process.pid)
  expect(self?.startTicks).toBeGreaterThan(0)
  expect(isAlive({ pid: process.pid, startTicks: self?.startTicks ?? 0 })).toBe(true)
  expect(isAlive({ pid: process.pid, startTicks: 1 })).toBe(false)
  expect(commandLine(process.pid)?.join(' ')).toContain('node')
  expect(bootId()).toMatch(/^[0-9a-f-]{36}$/)
})

test('a process that is gone is nobody', async () => {
  using sleeper = child('exec tail -f /dev/null')
  const ref = await refOf(sleeper.pid)
  expect(await killAndWait(ref)).toBe('asked')
  expect(isAlive(ref)).toBe(false)
  expect(await killAndWait(ref)).toBe('gone before')
  await until(() => commandLine(ref.pid) === null, { withinMs: 5_000 })
})

test('a zombie has ended', async () => {
  using parent = child('true & echo $!; exec tail -f /dev/null') // tail never waits for the child it inherits
  const pid = Number(await says(parent.process))
  await until(() => processOf(pid) === null, { withinMs: 5_000, what: 'the child to end' })
  expect(commandLine(pid)).toBeNull()
})

/** Its first thread is dead once it says so; another one lives on and keeps what the process has open. */
const headless = `
#include <pthread.h>
#include <unistd.h>
static void *live_on(void *first) { pthread_join(*(pthread_t *)first, NULL); write(1, "headless\\n", 9); pause(); return NULL; }
int main(void) { static pthread_t first, other; first = pthread_self(); pthread_create(&other, NULL, live_on, &first); pthread_exit(NULL); }`

test('one whose first thread is dead has not ended while another lives', async () => {
  await using folder = await tempFolder()
  const program = join(folder.path, 'headless')
  execFileSync('cc', ['-x', 'c', '-pthread', '-o', program, '-'], { input: headless })
  using headed = child(`exec ${program}`)
  expect(await says(headed.process)).toBe('headless\n')
  const stat = await until(() => parseStat(readFileSync(`/proc/${headed.pid}/stat`, 'latin1')), { withinMs: 5_000 })
  expect(stat).toMatchObject({ state: 'Z', threads: 2 })
  const ref = await refOf(headed.pid)
  expect(isAlive(ref)).toBe(true)
  expect(await killAndWait(ref)).toBe('asked')
  expect(isAlive(ref)).toBe(false)
})

test('one that does not listen is killed', async () => {
  using stubborn = child("trap '' TERM; echo deaf; exec tail -f /dev/null") // what is ignored stays ignored over exec
  expect(await says(stubborn.process)).toBe('deaf\n')
  const ref = await refOf(stubborn.pid)
  expect(await killAndWait(ref, { termMs: 50 })).toBe('killed')
  expect(isAlive(ref)).toBe(false)
})

test('processes are found by their command line', async () => {
  const mark = `wnod-test-${process.pid}`
  using marked = child(`exec tail -f /dev/null --pid=${process.pid} ${mark} 2>/dev/null`)
  const found = await until(() => findProcesses((args) => args[0] === 'tail' && args.includes(mark))[0], { withinMs: 5_000 })
  expect(found.pid).toBe(marked.pid)
})

test('what a process uses is its own time and its own memory, and nothing once it is gone', async () => {
  using other = child('exec sleep 1000')
  const ref = await refOf(other.pid)
  const own = await refOf(process.pid)
  const before = usageOf(own)
  const ballast = Buffer.alloc(32 * 1024 ** 2, 1)
  await until(() => (usageOf(own)?.cpuMs ?? 0) > (before?.cpuMs ?? 0), { withinMs: 20_000, what: 'this process has worked' })
  expect((usageOf(own)?.memoryBytes ?? 0) - (before?.memoryBytes ?? 0)).toBeGreaterThan(ballast.length / 2)
  expect(usageOf({ ...own, startTicks: own.startTicks + 1 })).toBeNull()
  await killAndWait(ref, { termMs: 0 })
  expect(usageOf(ref)).toBeNull()
})
