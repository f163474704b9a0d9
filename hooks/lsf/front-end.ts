/**
 * LSF, and what speaks its dialect. Its JOB_STARTER is text in front of the user's text, in a shell file that LSF runs. With
 * `JOB_STARTER = exec wnod-starter --lsf; %USRCMD` the shell becomes us before it has read the user's text, which we take from the file:
 *
 *   #! /bin/sh                                 #! /bin/sh
 *   $LSB_TRAPSIGS                              $LSB_TRAPSIGS
 *   # LSBATCH: User input                      # LSBATCH: User input
 *   exec wnod-starter --lsf; a "b c"; d        (cat <<…) > $LSB_CHKFILENAME.shell      a script on the stdin of bsub:
 *   ExitStat=$?                                exec wnod-starter --lsf; $LSB_JOBFILENAME.shell
 *   wait                                       /bin/rm -f $LSB_JOBFILENAME.shell
 *   exit $ExitStat                             ExitStat=$?  …
 *
 * With words after `--lsf` (`wnod-starter --lsf sh -c "%USRCMD"`, the quoted form of the manual) these are the command, and the shell on the bait has
 * already read them: quotes end where the user's do, and variables are those of the bait.
 */
import { notAJob, wholeNumber, type Call, type Reading } from '../starter/front-end.ts'

/** What means something on the bait alone. */
const ofTheNode = ['LS_JOBPID'] as const

/** What is set for the sake of us. */
const ofTheStarter = ['LSB_JOB_STARTER'] as const

/** A process may get no longer argument, on any Linux (execve(2), MAX_ARG_STRLEN). */
const textBytesMax = 128 * 1024 - 1

/** What LSF asks for. */
export function lsf({ args, env, envBytes, readFile }: Call): Reading {
  const by = { refusedCode: requeueCode(env['LSB_EXIT_REQUEUE']) }
  const base = {
    known: {
      batchSystem: 'lsf',
      batchJobId: jobIdOf(env),
      queue: env['LSB_QUEUE'] || null,
      project: env['LSB_PROJECT_NAME'] || null,
      cpus: cpusOf(env),
      ...by,
      tty: true,
    },
    deathBySignal: 'code',
    drops: ofTheNode,
    told: ofTheStarter,
    restores: ['SIGHUP'],
  } as const satisfies Omit<Reading, 'argv'>
  if (args.length > 0) return { ...base, argv: args }
  const file = envBytes('LSB_JOBFILENAME')
  if (file === null) throw notAJob('LSB_JOBFILENAME is not set: is this a job of LSF?', by)
  const path = file.toString('latin1')
  const script = tryRead(readFile, Buffer.from(`${path}.shell`, 'latin1'))
  if (script !== null) return { ...base, ...ofScript(path, script) }
  const whole = tryRead(readFile, file)
  if (whole === null) throw notAJob(`the job file ${path} cannot be read`, by)
  const text = userText(whole.toString('latin1'), envBytes('LSB_JOB_STARTER')?.toString('latin1') ?? '')
  if (text === null) throw notAJob(`the job file ${path} does not have the user's text where LSF puts it`, by)
  if (text.length > textBytesMax) throw notAJob(`the user's text is ${text.length} bytes long: give it as a script, on the stdin of bsub`, by)
  return { ...base, argv: ['/bin/sh', '-c', asInTheFile(text), path].map((word) => Buffer.from(word, 'latin1')) }
}

/** The file is a shell script around the text: its shell outlives the signals that LSB_TRAPSIGS names, and waits for what the text leaves running. */
const asInTheFile = (text: string): string => `$LSB_TRAPSIGS\n${text}\nExitStat=$?\nwait\nexit $ExitStat`

/** As LSF's own script calls it: by a shell, which also takes files that start with no `#!`. On the host that shell is there, and removes it. */
function ofScript(jobFile: string, content: Buffer): Pick<Reading, 'argv' | 'native' | 'script' | 'removes'> {
  const path = Buffer.from(`${jobFile}.shell`, 'latin1')
  const isProgram = content.subarray(0, 2).toString('latin1') === '#!' || content[0] === 0x7f
  const around = '$LSB_TRAPSIGS\n"$0.shell"\nExitStat=$?\n/bin/rm -f "$0.shell"\nwait\nexit $ExitStat'
  return {
    argv: isProgram ? [path] : [Buffer.from('/bin/sh'), path],
    native: { argv: ['/bin/sh', '-c', around, jobFile].map((word) => Buffer.from(word, 'latin1')) },
    script: { path, content },
    removes: [path.toString('utf8')],
  }
}

/**
 * The user's own text in a job file, without the job starter around it; null where it is not as LSF writes it. Text of the user may have any of the
 * lines that we look for: the first mark and the last end are LSF's.
 */
export function userText(file: string, starter: string): string | null {
  const start = /^# LSBATCH: User input\r?\n/m.exec(file)
  if (start === null) return null
  const body = file.slice(start.index + start[0].length)
  const end = body.lastIndexOf('\nExitStat=$?')
  if (end < 0) return null
  const [before, after = ''] = around(starter)
  const text = body.slice(0, end)
  if (!text.startsWith(before) || !text.endsWith(after) || text.length < before.length + after.length) return null
  return text.slice(before.length, text.length - after.length)
}

/** What stands before and after the user's text; without %USRCMD that text comes last. */
function around(starter: string): readonly [string, string?] {
  const at = starter.indexOf('%USRCMD')
  if (at < 0) return [starter === '' ? '' : `${starter} `]
  return [starter.slice(0, at), starter.slice(at + '%USRCMD'.length)]
}

/** `7`, of an array `7[3]`, as LSF's own tools write them. */
function jobIdOf(env: NodeJS.ProcessEnv): string | null {
  const [job, index] = [env['LSB_JOBID'], wholeNumber(env['LSB_JOBINDEX'])]
  if (job === undefined || job === '') return null
  return index === null || index === 0 ? job : `${job}[${index}]`
}

/** The slots on this host, which LSF names first: `hostA 2 hostB 4`. */
function cpusOf(env: NodeJS.ProcessEnv): number | null {
  const slots = wholeNumber(env['LSB_MCPU_HOSTS']?.trim().split(/\s+/)[1])
  return slots === 0 ? null : slots
}

/**
 * The exit code that makes LSF run the job again: 75 where the queue's list has it, else the first of the list; where there is none, 75 all the same, and
 * the job is over. `EXCLUDE(n)` runs it elsewhere.
 */
export function requeueCode(list: string | undefined): number {
  const codes = [...(list ?? '').matchAll(/(~?)\b(\d{1,3})\b/g)].flatMap(([, not, code]) => (not === '' && Number(code) > 0 && Number(code) < 256 ? [Number(code)] : []))
  return codes.includes(75) ? 75 : (codes[0] ?? 75)
}

function tryRead(readFile: Call['readFile'], path: Buffer): Buffer | null {
  try {
    return readFile(path)
  } catch {
    return null
  }
}
