import { existsSync, statSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { freePort, listenTcp, listenUnix, someoneAnswers } from '../../kit/socket.ts'
import { claimPidFile, readPidFile } from '../../kit/pid-file.ts'
import { tempFolder } from '../harness/temp.ts'

/** A server that is closed when the scope is left. */
function server() {
  const made = createServer()
  const close = () => new Promise<void>((resolve) => made.close(() => resolve()))
  return { made, close, [Symbol.asyncDispose]: close }
}

/** Leaves behind what a program leaves that is killed while it listens. */
async function staleSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  await once(spawn(process.execPath, ['-e', script], { stdio: 'ignore' }), 'exit')
}

test('a socket has its permissions, and is gone when its server closes', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'run/x.sock')
  await using one = server()
  await listenUnix(one.made, path, 0o600)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(await someoneAnswers(path)).toBe(true)
  await one.close()
  expect(existsSync(path)).toBe(false)
})

test('a live socket is refused, a stale one replaced', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'x.sock')
  await staleSocket(path)
  expect(existsSync(path)).toBe(true)
  await using one = server()
  await listenUnix(one.made, path, 0o666)
  expect(statSync(path).mode & 0o777).toBe(0o666)
  await using two = server()
  await expect(listenUnix(two.made, path, 0o600)).rejects.toMatchObject({ code: 'SOCKET_IN_USE' })
  expect(await someoneAnswers(path)).toBe(true)
})

test('a file that is no socket stays', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'x.sock')
  await writeFile(path, 'precious')
  await using one = server()
  await expect(listenUnix(one.made, path, 0o600)).rejects.toMatchObject({ code: 'SOCKET_IN_USE' })
  expect(statSync(path).size).toBe(8)
})

test('a port that is taken is named', async () => {
  await using one = server()
  await using two = server()
  const port = await listenTcp(one.made, 0)
  await expect(listenTcp(two.made, port)).rejects.toMatchObject({ code: 'PORT_IN_USE', facts: { port } })
  expect(await freePort()).toBeGreaterThan(0)
})

test('a pid file names a running program only, and refuses a second one', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'bait.pid.json')
  expect(await readPidFile(path)).toBeNull()
  {
    await using _claim = await claimPidFile(path)
    expect(await readPidFile(path)).toMatchObject({ pid: process.pid })
    await expect(claimPidFile(path, process.ppid)).rejects.toMatchObject({ code: 'PROGRAM_RUNNING' })
  }
  expect(existsSync(path)).toBe(false)
  await writeFile(path, JSON.stringify({ pid: process.pid, startTicks: 1, bootId: 'x' }))
  expect(await readPidFile(path)).toBeNull()
  await writeFile(path, 'garbage')
  await using _again = await claimPidFile(path)
})
