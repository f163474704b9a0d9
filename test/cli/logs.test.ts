import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Context } from '../../cli/context.ts'
import { controllerApi } from '../../cli/client.ts'
import { jobLogs, storyOf, type Log } from '../../cli/show/logs.ts'
import { homePaths } from '../../kit/paths.ts'
import { tempFolder } from '../harness/temp.ts'

const [mine, other] = ['a'.repeat(32), 'b'.repeat(32)]
const line = (second: number, msg: string, facts: object): string =>
  JSON.stringify({ level: 'info', time: `2026-11-22T04:00:0${second}.000Z`, program: 'p', pid: 1, ...facts, msg })
const logs: readonly Log[] = [
  { program: 'bait-h1', text: [line(1, 'job accepted', { job: 'h1-1', trace: mine }), line(2, 'job accepted', { job: 'h1-11', trace: other }), 'garbage "h1-1"', line(5, 'job ended', { job: 'h1-1', trace: mine })].join('\n') },
  { program: 'controller', text: [line(3, 'job decided', { job: 'h1-1', trace: mine, vwn: 'v1' }), line(4, 'a word about the trace', { trace: mine }), line(4, 'another job of it', { job: 'h1-2', trace: mine }), line(0, 'why', { said: 'h1-1' })].join('\n') },
]
const told = (id: string): readonly string[] => storyOf(logs, id).lines.map(({ program, msg }) => `${program}: ${msg}`)

test('what every program said of a job comes in the order of time, and nothing of other jobs', () => {
  expect(told('h1-1')).toEqual(['bait-h1: job accepted', 'controller: job decided', 'controller: a word about the trace', 'bait-h1: job ended'])
  expect(storyOf(logs, 'h1-1')).toMatchObject({ job: 'h1-1', trace: mine })
  expect(told('h1-3')).toEqual([])
})

test('a trace stands for all jobs of it', () => {
  expect(told(mine)).toHaveLength(5)
  expect(storyOf(logs, mine)).toMatchObject({ job: null, trace: mine })
})

test('a job whose lines have no trace is found by its name', () => {
  expect(storyOf([{ program: 'bait-h1', text: line(1, 'job accepted', { job: 'h1-4' }) }], 'h1-4')).toMatchObject({ trace: null, lines: [{ msg: 'job accepted' }] })
})

test('files are read with what was cut off them, and printed as people and as programs read them', async () => {
  await using folder = await tempFolder()
  const home = homePaths(folder.path)
  let printed = ''
  const context: Context = { home, api: controllerApi(home), json: false, width: null, colour: false, print: (text) => void (printed += text), say: () => undefined }
  expect(() => jobLogs(context, 'h1-1')).toThrow(expect.objectContaining({ code: 'FILE_UNREADABLE' }) as Error)
  mkdirSync(home.logs)
  writeFileSync(home.host('h1').log, line(2, 'job ended', { job: 'h1-1', vwn: null, err: { code: 'X', why: 'it broke' }, took: 'a while' }))
  writeFileSync(`${home.host('h1').log}.1`, `${line(1, 'job accepted', { job: 'h1-1', user: 'alice' })}\n`)
  writeFileSync(join(home.logs, 'nats.log'), '[1] h1-1 is no line of ours\n')
  jobLogs(context, 'h1-1')
  expect(printed).toBe(
    'TIME                      PROGRAM  LEVEL  WHAT          FACTS\n' +
    '2026-11-22T04:00:01.000Z  bait-h1  info   job accepted  job=h1-1 user=alice\n' +
    '2026-11-22T04:00:02.000Z  bait-h1  info   job ended     job=h1-1 err="it broke" took="a while"\n')
  printed = ''
  jobLogs({ ...context, json: true }, 'h1-1')
  expect(JSON.parse(printed)).toMatchObject({ job: 'h1-1', trace: null, lines: [{ program: 'bait-h1', user: 'alice' }, { msg: 'job ended' }] })
  expect(() => jobLogs(context, 'h1-2')).toThrow(expect.objectContaining({ code: 'JOB_NOT_FOUND' }) as Error)
  expect(() => jobLogs(context, 'v1')).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }) as Error)
})
