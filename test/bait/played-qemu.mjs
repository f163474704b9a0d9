#!/usr/bin/env node
// As much of QEMU as a state needs that is saved or restored: a control socket, and one end of the stream. The last part of its name
// says what becomes of it: `all-is-well`, `dies-at-COMMAND`, or one of the words below.
import { connect, createServer } from 'node:net'

const args = process.argv.slice(2)
const fate = args[args.indexOf('-name') + 1].split(',')[0].split('.').at(-1)
const control = args.find((arg) => arg.startsWith('socket,id=control,')).replace(/^.*,path=([^,]*),.*$/, '$1')
const state = Buffer.alloc(100_000, 'state of devices ')

const die = () => process.kill(process.pid, 'SIGKILL')
let say = () => {}
const migration = (status) => say({ event: 'MIGRATION', data: { status } })

function save(path) {
  if (fate === 'falls-silent') return
  if (fate === 'fails') return migration('failed')
  const stream = connect(path)
  stream.on('error', () => {})
  if (fate === 'floods') {
    const flood = () => stream.writable && stream.write(Buffer.alloc(1024 * 1024), flood)
    migration('completed')
    return flood()
  }
  if (fate === 'dies-half-way') return stream.write(state.subarray(0, 50_000), die)
  stream.end(state)
  stream.on('close', () => (fate === 'dies-before-its-word' ? die() : migration('completed')))
  if (fate === 'dies-after-its-word') stream.on('close', () => setImmediate(die))
}

function restore(path) {
  const server = createServer((stream) => {
    let length = 0
    stream.on('data', (chunk) => {
      length += chunk.length
      if (fate === 'dies-half-way') die()
    })
    stream.on('end', () => {
      if (fate === 'falls-silent') return
      if (fate === 'refuses') {
        process.stderr.write('played-qemu: load of migration failed: Invalid argument\n')
        process.exit(1)
      }
      migration(fate === 'fails' || length !== state.length ? 'failed' : 'completed')
    })
  })
  return new Promise((resolve) => server.listen(path, resolve))
}

async function obey({ execute, arguments: given = {}, id }) {
  if (fate === `dies-at-${execute}`) return die()
  if (execute === 'quit') process.exit(0)
  const path = given.uri?.replace(/^unix:/, '')
  if (execute === 'migrate-incoming') await restore(path)
  say({ return: execute === 'query-migrate' ? { status: 'failed', 'error-desc': 'as told' } : {}, id })
  if (execute === 'migrate') save(path)
}

createServer((socket) => {
  let unread = ''
  socket.on('error', () => {})
  say = (message) => void socket.write(`${JSON.stringify(message)}\n`)
  say({ QMP: {} })
  socket.on('data', (chunk) => {
    const lines = (unread + chunk).split('\n')
    unread = lines.pop()
    for (const line of lines) void obey(JSON.parse(line))
  })
}).listen(control)
