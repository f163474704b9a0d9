/** How LSF, PBS, Torque and HTCondor call the starter, as text alone; test/batch/replay.test.ts calls it so. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { countIn, nameIn, parseAd } from '../../hooks/htcondor/classad.ts'
import { htcondor } from '../../hooks/htcondor/front-end.ts'
import { lsf, requeueCode, userText } from '../../hooks/lsf/front-end.ts'
import { pbs, scriptPath, torque } from '../../hooks/pbs/front-end.ts'
import { frontEndOf, type Call, type Reading } from '../../hooks/starter/front-end.ts'

interface Given {
  readonly env?: NodeJS.ProcessEnv
  readonly args?: readonly string[]
  readonly files?: Readonly<Record<string, string>>
  readonly pipe?: string
}

const call = ({ env = {}, args = [], files = {}, pipe }: Given): Call => ({
  args: args.map((arg) => Buffer.from(arg)), env, envBytes: (name) => (env[name] === undefined ? null : Buffer.from(env[name], 'latin1')),
  userShell: () => null,
  readFile: (path) => {
    const content = files[path.toString('latin1')]
    if (content === undefined) throw new Error(`ENOENT: ${path.toString()}`)
    return Buffer.from(content, 'latin1')
  },
  readPipe: () => (pipe === undefined ? null : Buffer.from(pipe, 'latin1')),
})
/** What runs on the host itself: the program, where it has another name, and the words. */
const natively = ({ argv, native = { argv } }: Reading): readonly string[] => [...(native.file === undefined ? [] : [`${native.file.toString('latin1')} as`]), ...native.argv.map((word) => word.toString('latin1'))]
const words = ({ argv }: Reading): readonly string[] => argv.map((word) => word.toString('latin1'))

test('the first argument names the front end, before the environment does', () => {
  expect(frontEndOf({}, '--lsf')?.used).toBe(1)
  expect(frontEndOf({ WNOD_FRONT_END: 'slurm' }, '--pbs')?.used).toBe(1)
  expect(frontEndOf({ WNOD_FRONT_END: 'torque' }, '--type')?.used).toBe(0)
  for (const first of ['--', '--type', 'lsf', '--constructor', undefined]) expect(frontEndOf({}, first)).toBeNull()
})

describe('LSF', () => {
  const starter = 'exec wnod-starter --lsf; %USRCMD'
  const file = (text: string): string => `#! /bin/sh\n$LSB_TRAPSIGS\n# LSBATCH: User input\n${text}\nExitStat=$?\nwait\n# LSBATCH: End user input\nexit $ExitStat\n`
  const env = { LSB_JOBFILENAME: '/home/u/.lsbatch/9.7', LSB_JOB_STARTER: starter, LSB_JOBID: '7', LSB_JOBINDEX: '0', LSB_QUEUE: 'bait', LSB_MCPU_HOSTS: 'h1 2 h2 4' }
  const read = (text: string, more: NodeJS.ProcessEnv = {}): Reading => lsf(call({ env: { ...env, ...more }, files: { '/home/u/.lsbatch/9.7': file(text) } }))

  test('the text after the starter is the job, in a shell as that of the job file', () => {
    const reading = read('exec wnod-starter --lsf; a "q  x" $HOME; b')
    expect(words(reading)).toEqual(['/bin/sh', '-c', '$LSB_TRAPSIGS\na "q  x" $HOME; b\nExitStat=$?\nwait\nexit $ExitStat', '/home/u/.lsbatch/9.7'])
    expect(reading).toMatchObject({ deathBySignal: 'code', restores: ['SIGHUP'], known: { batchSystem: 'lsf', batchJobId: '7', queue: 'bait', cpus: 2, refusedCode: 75 } })
  })

  test('a script on the stdin of bsub is run by its bytes, and its file removed', () => {
    const script = { path: Buffer.from('/home/u/.lsbatch/9.7.shell'), content: Buffer.from('#!/bin/csh\nx\n') }
    const reading = lsf(call({ env, files: { [String(script.path)]: String(script.content) } }))
    expect(reading).toMatchObject({ argv: [script.path], script, removes: [String(script.path)] })
    // On the host, in a shell that outlives it and removes it, as LSF's own.
    expect(natively(reading)).toEqual(['/bin/sh', '-c', '$LSB_TRAPSIGS\n"$0.shell"\nExitStat=$?\n/bin/rm -f "$0.shell"\nwait\nexit $ExitStat', '/home/u/.lsbatch/9.7'])
    expect(words(lsf(call({ env, files: { [String(script.path)]: 'echo plain' } })))).toEqual(['/bin/sh', String(script.path)])
  })

  test('words after --lsf are the command', () => expect(words(lsf(call({ env, args: ['sh', '-c', 'a b'] })))).toEqual(['sh', '-c', 'a b']))

  test.each<[string, string, string | null]>([
    ['several lines', 'exec wnod-starter --lsf; a\nb\n\nc', 'a\nb\n\nc'],
    ['lines that look like those of LSF', 'exec wnod-starter --lsf; a\nExitStat=$?\n# LSBATCH: User input\nb', 'a\nExitStat=$?\n# LSBATCH: User input\nb'],
    ['none at all', 'exec wnod-starter --lsf; ', ''],
    ['another starter', 'exec other; a', null],
  ])('the user’s text: %s', (_what, text, expected) => expect(userText(file(text), starter)).toBe(expected))

  test('what stands after %USRCMD is not the user’s', () => {
    expect(userText(file('pre a; post'), 'pre %USRCMD; post')).toBe('a')
    expect(userText(file('pre a'), 'pre')).toBe('a')
    expect(userText('no job file', starter)).toBeNull()
  })

  test('any text of any user comes out as it went in', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void expect(userText(file(starter.replace('%USRCMD', () => text)), starter)).toBe(text)))
  })

  test.each([[{ LSB_JOBINDEX: '3' }, '7[3]'], [{ LSB_JOBID: '' }, null]])('its job id %j', (more, batchJobId) => expect(read('exec wnod-starter --lsf; a', more).known).toMatchObject({ batchJobId }))

  test.each([[undefined, 75], ['', 75], ['42', 42], ['42 75', 75], ['EXCLUDE(99)', 99], ['all ~0 ~1', 75], ['20 EXCLUDE(30)', 20], ['0 999', 75]])('of the requeue values %j a refused job takes %i', (list, code) => {
    expect(requeueCode(list)).toBe(code)
  })

  test('what is no job of LSF is refused with the code that has it run again', () => {
    for (const given of [{ env: {} }, { env: { ...env, LSB_EXIT_REQUEUE: '42' } }, { env, files: { [env.LSB_JOBFILENAME]: 'x' } }, { env, files: { [env.LSB_JOBFILENAME]: file(`exec wnod-starter --lsf; ${'x'.repeat(200_000)}`) } }])
      expect(() => lsf(call(given))).toThrow(expect.objectContaining({ failure: expect.objectContaining({ code: 'JOB_CALL_UNREADABLE' }) as unknown, by: { refusedCode: 'LSB_EXIT_REQUEUE' in given.env ? 42 : 75 } }))
  })
})

describe('PBS', () => {
  const path = '/var/spool/pbs/mom_priv/jobs/7[3].server.SC'
  const line = '/var/spool/pbs/mom_priv/jobs/7\\[3\\].server.SC\n'
  const env = { PBS_JOBID: '7[3].server', PBS_QUEUE: 'bait', PBS_ACCOUNT: 'lhcb', NCPUS: '2', PBS_ENVIRONMENT: 'PBS_BATCH' }

  test.each([['pbs', pbs], ['torque', torque]] as const)('%s: a login shell reads the same line, and finds the script', (batchSystem, read) => {
    const reading = read(call({ env, args: ['/bin/bash'], pipe: line, files: { [path]: 'echo' } }))
    expect(words(reading)).toEqual(['/bin/bash', '-l'])
    expect(natively(reading)).toEqual(['/bin/bash as', '-bash'])
    expect(reading).toMatchObject({ stdin: Buffer.from(line), script: { path: Buffer.from(path), content: Buffer.from('echo') }, deathBySignal: 'raise', known: { batchSystem, batchJobId: '7[3].server', queue: 'bait', project: 'lhcb', cpus: 2 } })
  })

  test('a command of its own is run as it is, its stdin left alone', () => {
    const reading = pbs(call({ env, args: ['a', '', 'b c'] }))
    expect([words(reading), natively(reading)]).toEqual([['a', '', 'b c'], ['a', '', 'b c']])
    expect(reading.stdin).toBeUndefined()
    expect(pbs(call({ env, args: ['cat'], pipe: 'some data\n' }))).toMatchObject({ stdin: Buffer.from('some data\n') })
  })

  test('an interactive job is a login shell at a terminal', () => {
    const reading = pbs(call({ env: { ...env, PBS_ENVIRONMENT: 'PBS_INTERACTIVE' }, args: ['/bin/bash'], pipe: line }))
    expect([words(reading), reading.known.tty, reading.stdin]).toEqual([['/bin/bash', '-l'], true, undefined])
  })

  test.each([
    [line, path], [`cd /scratch/7;${line}`, path], [`cd /scratch/a\\ b\n${line}`, path], ['/a b.SC', null], ['relative.SC', null], ['/etc/passwd', null], ['', null], [';;\n', null], ['/x\\;y.SC', '/x;y.SC'],
  ])('the script of %j', (text, expected) => expect(scriptPath(text)).toBe(expected))

  test('any line has a path of a script or none', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void expect(scriptPath(text) ?? '/.SC').toMatch(/^\/.*\.SC$/s)))
  })

  test('no command, and a script that is gone, are refused', () => {
    expect(() => pbs(call({ env }))).toThrow('no command')
    expect(() => pbs(call({ env, args: ['sh'], pipe: line }))).toThrow('cannot be read')
  })
})

describe('HTCondor', () => {
  const job = 'ClusterId = 7\nProcId = 0\nVM = "el9"\nRequestCpus = 8\nAcctGroup = "lhcb"\nCmd = "/home/u/x"\n'
  const env = { _CONDOR_JOB_AD: '/s/.job.ad', _CONDOR_MACHINE_AD: '/s/.machine.ad', _CONDOR_SCRATCH_DIR: '/s', _CONDOR_JOB_IWD: '/s', _CONDOR_WRAPPER_ERROR_FILE: '/s/.job_wrapper_failure' }
  const read = (ad: string, more: NodeJS.ProcessEnv = {}): Reading => htcondor(call({ env: { ...env, ...more }, args: ['/s/condor_exec.exe', 'a b'], files: { '/s/.job.ad': ad, '/s/.machine.ad': 'Cpus = 2\nMemory = 900\n' } }))

  test('the command is its arguments, and what it wants is in its ads', () => {
    const reading = read(job)
    expect(words(reading)).toEqual(['/s/condor_exec.exe', 'a b'])
    expect(reading).toMatchObject({
      deathBySignal: 'raise', failureFile: '/s/.job_wrapper_failure',
      known: { type: 'el9', batchSystem: 'htcondor', batchJobId: '7.0', project: 'lhcb', cpus: 2, memoryMib: 900, stage: true, exclude: ['_condor_stdout', '_condor_stderr'] },
    })
  })

  test('a job on a shared file system is not handed its directory, nor told of the scratch one', () => {
    expect(read(job, { _CONDOR_JOB_IWD: '/home/u' })).toMatchObject({ known: { stage: false }, drops: expect.arrayContaining(['TMP', '_CONDOR_SCRATCH_DIR']) as unknown })
    expect(read(job)).toMatchObject({ drops: [], told: ['_CONDOR_WRAPPER_ERROR_FILE'] })
  })
  test('a job without ads is still a job', () => expect(htcondor(call({ args: ['x'] }))).toMatchObject({ known: { type: null, batchJobId: null, stage: false } }))

  test.each(['VM = el9', 'VM = "a b"', 'VM = strcat("a","b")', 'vm = ""', 'VM = "$(id)"', 'VM = 7'])('%j is refused where HTCondor looks', (line) => {
    expect(() => read(`${line}\n`)).toThrow(expect.objectContaining({ by: { failureFile: '/s/.job_wrapper_failure' } }))
  })

  test.each([
    ['A = "x"', 'x'], ['  A="x"  \r', 'x'], ['A = "q\\"\\\\"', 'q"\\'], ['A = 7', 7], ['A = TRUE', true], ['A = 7.5', null], ['A = B', null], ['A = "x" + "y"', null], ['A = "open', null], ['A = "a\\"', null], ['A = "1"\na = "2"', '2'],
  ])('%j', (text, value) => expect(parseAd(text).get('a')).toBe(value))

  test('any text is an ad, of plain values under plain names; any string comes out as it went in', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => {
      for (const [name, value] of parseAd(text)) {
        expect(name).toMatch(/^[a-z_][a-z0-9_.]*$/)
        if (typeof value === 'number') expect(Number.isSafeInteger(value)).toBe(true)
      }
      expect(nameIn(parseAd(text), 'VM') ?? 'none').toMatch(/^[\w.@+:-]+$/)
      expect(countIn(parseAd(text), 'Cpus') ?? 1).toBeGreaterThan(0)
    }))
    fc.assert(fc.property(fc.string({ unit: 'binary' }).filter((text) => !/[\n\r\u2028\u2029]/.test(text)), (text) => {
      expect(parseAd(`A = "${text.replace(/["\\]/g, '\\$&')}"`).get('a')).toBe(text)
    }))
  })

  test('hostile ads are read in no time', () => {
    const before = performance.now()
    for (const text of [`A = "${'\\"'.repeat(100_000)}`, `A = ${' '.repeat(100_000)}x${' '.repeat(100_000)}"`, '='.repeat(200_000), 'a=b\n'.repeat(100_000), `${'a'.repeat(200_000)} = 1`]) parseAd(text)
    expect(performance.now() - before).toBeLessThan(2_000)
  })
})
