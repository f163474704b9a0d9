/**
 * OpenPBS, by its hook (wnod_hook.py puts `wnod-starter --pbs` before the command), and Torque, by `$job_starter /path/of/wnod-torque`. Both run a batch
 * script by the user's login shell, to which they give the script's path on stdin:
 *
 *   argv   /bin/bash                       (the `-` of a login shell is in argv[0], which is now ours)
 *   stdin  /var/spool/pbs/mom_priv/jobs/7\[3\].server.SC      a pipe; before it, with sandbox=private, `cd DIR` and a newline or `;`
 *
 * The guest's shell reads the same line, and finds the same file. `qsub -- COMMAND` and tasks of a parallel job have no such line: their words are
 * the command.
 */
import { notAJob, spooledScript, wholeNumber, type Call, type FrontEnd, type Reading } from '../starter/front-end.ts'

/** Of the daemon on this node: no job could use them in a VWN. */
const ofTheNode = ['PBS_MOMPORT', 'PBS_JOBCOOKIE'] as const

/** What OpenPBS asks for. */
export const pbs: FrontEnd = (call) => reading(call, 'pbs')

/** What Torque asks for. */
export const torque: FrontEnd = (call) => reading(call, 'torque')

function reading(call: Call, batchSystem: 'pbs' | 'torque'): Reading {
  const { args, env, readPipe } = call
  if (args.length === 0) throw notAJob('it has named no command')
  const interactive = env['PBS_ENVIRONMENT'] === 'PBS_INTERACTIVE'
  const base = {
    known: {
      batchSystem,
      batchJobId: env['PBS_JOBID'] || null,
      queue: env['PBS_QUEUE'] || null,
      project: env['PBS_ACCOUNT'] || null,
      cpus: cpusOf(env),
      tty: interactive,
    },
    deathBySignal: 'raise',
    drops: ofTheNode,
  } as const satisfies Omit<Reading, 'argv'>
  const line = interactive ? null : (readPipe?.() ?? null)
  const path = line === null ? null : scriptPath(line.toString('latin1'))
  if (line === null || path === null) return { ...base, ...(interactive ? loginShell(args) : { argv: args }), ...(line !== null && { stdin: line }) }
  return { ...base, ...loginShell(args), stdin: line, script: spooledScript(call, Buffer.from(path, 'latin1')) }
}

/** By an option what was said by a `-` before its name, and on the host is said so again; a shell that has options of its own keeps them. */
function loginShell(args: readonly Buffer[]): Pick<Reading, 'argv' | 'native'> {
  const [shell = Buffer.alloc(0), ...rest] = args
  const name = shell.subarray(shell.lastIndexOf('/') + 1)
  return { argv: rest.length === 0 ? [shell, Buffer.from('-l')] : args, native: { file: shell, argv: [Buffer.concat([Buffer.from('-'), name]), ...rest] } }
}

/** The last word that the daemon has its shell read, where that is the absolute path of a script of the daemon's; null for anything else. */
export function scriptPath(line: string): string | null {
  const last = /(?:^|[;\n])[ \t]*((?:\\.|[^\s;\\])+)[ \t]*\n?$/s.exec(line)?.[1]?.replace(/\\(.)/gs, '$1')
  return last !== undefined && last.startsWith('/') && last.endsWith('.SC') ? last : null
}

/** OpenPBS says NCPUS, Torque PBS_NUM_PPN. */
function cpusOf(env: NodeJS.ProcessEnv): number | null {
  const cpus = wholeNumber(env['NCPUS']) ?? wholeNumber(env['PBS_NUM_PPN'])
  return cpus === 0 ? null : cpus
}
