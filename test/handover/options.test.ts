import { expect, test } from 'vitest'
import { parseOptions, UsageError } from '../../hooks/starter/options.ts'
import { signalNumber } from '../../hooks/starter/ending.ts'
import { parseLimits, splitZero } from '../../hooks/starter/surroundings.ts'

test('options end at -- or at the command', () => {
  const { options, used } = parseOptions(['--type', 'el9', '--cpus=4', '-n', '--', '--type', 'x'], {})
  expect([options.type, options.cpus, options.waitStdin, used]).toEqual(['el9', 4, false, 5])
  expect(parseOptions(['--tty', 'ls', '--type', 'x'], {}).used).toBe(1)
})

test('the environment gives what the command line does not', () => {
  const env = { WNOD_TYPE: 'el8', WNOD_QUEUE: 'long', WNOD_BATCH_JOB_ID: '17', WNOD_STAGE: '1', WNOD_TTY: '0', WNOD_EXCLUDE: 'a\nb' }
  const { options } = parseOptions(['--type', 'el9', 'ls'], env)
  expect(options).toMatchObject({ type: 'el9', queue: 'long', batchJobId: '17', stage: true, tty: false, exclude: ['a', 'b'], refusedCode: 75, lostCode: 76 })
})

test.each([[['--typo', 'x']], [['--cpus', 'many', 'ls']], [['--type']], [['--lost-code', '256', 'ls']], [['--stage=yes', 'ls']]])('%j is wrong use', (args) => {
  expect(() => parseOptions(args, {})).toThrow(UsageError)
})

test('the strings of an execve, empty ones too', () => {
  expect(splitZero(Buffer.from('a\0\0b\0')).map(String)).toEqual(['a', '', 'b'])
  expect(splitZero(Buffer.alloc(0))).toEqual([])
})

test('limits of the kernel', () => {
  const text = 'Limit                     Soft Limit           Hard Limit           Units     \nMax cpu time              unlimited            100                  seconds   \nMax nonsense              1                    2                    x\n'
  expect(parseLimits(text)).toEqual([{ name: 'cpu', soft: null, hard: 100 }])
})

test('numbers of signals', () => {
  expect([signalNumber('SIGTERM'), signalNumber('SIGRTMIN'), signalNumber('SIGRTMIN+3'), signalNumber('SIGRTMAX-1'), signalNumber('SIGNONE')]).toEqual([15, 34, 37, 63, null])
})
