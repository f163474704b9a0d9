/** `wnod`: the operator's and user's command. Each command loads its own code only when it is the one. */
import { Command, CommanderError, Option } from 'commander'
import { version } from '../kit/version.ts'
import { VwnError } from '../core/errors.ts'
import { sumKeys, type SumKey } from '../core/accounting.ts'
import type { RecordFormat } from './accounting.ts'
import type { Context } from './context.ts'
import type { EventsAsked } from './events.ts'
import { momentGiven, sayFailure, wholeNumber } from './failure.ts'
import { become } from './programs.ts'

interface AccountingOptions {
  readonly since?: number
  readonly until?: number
  readonly user?: string
  readonly group?: string
  readonly project?: string
  readonly type?: string
  readonly format?: RecordFormat | 'table'
  readonly sumBy?: SumKey
}

interface Common {
  readonly home?: string
  readonly json?: boolean
  readonly color?: boolean
}

const program = new Command('wnod')
  .description('Worker nodes on demand: batch jobs run inside virtual worker nodes.')
  .version(version)
  .option('--home <dir>', 'the folder with all state of one farm (default: WNOD_HOME)')
  .option('--no-color', 'no colour on a terminal, as with NO_COLOR')
  .enablePositionalOptions()
  .exitOverride()
  .showHelpAfterError('hint: `wnod --help` shows every command')

const contextOf = async (command: Command): Promise<Context> =>
  (await import('./context.ts')).makeContext({ ...command.optsWithGlobals<Common>(), color: [program, command].every((one) => one.opts<Common>().color !== false) })

/** A command that prints data, as a table or, with --json, as it came. */
const listing = (name: string, description: string): Command =>
  program.command(name).description(description).option('--json', 'print JSON').option('--no-color', 'as `wnod --no-color`').option('--home <dir>', 'as `wnod --home`')

const verb = listing

/** What follows a command, as it came: Commander would drop a `--`. */
function argumentsOf(name: string): readonly string[] {
  const args = process.argv.slice(2)
  const at = args.findIndex((arg, i) => arg === name && args[i - 1] !== '--home')
  return args.slice(at + 1)
}

/** A command that is another program of ours: its options are not looked at here. */
const passOn = (name: string, description: string, go: (args: readonly string[]) => Promise<void>): Command =>
  program
    .command(name)
    .description(description)
    .argument('[args...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async () => {
      const { home } = program.opts<Common>()
      if (home !== undefined) process.env['WNOD_HOME'] = home
      process.env['WNOD_IMAGES'] ??= (await import('./context.ts')).findHome(home).images
      await go(argumentsOf(name))
    })

// ---------------------------------------------------------------- local farm

program
  .command('up')
  .description('start a local farm: NATS server, controller and baits')
  .option('--home <dir>', 'as `wnod --home`')
  .option('--baits <n>', 'how many baits, as hosts h1 … hN', wholeNumber('--baits', 1, 64))
  .option('--cpus <n>', 'cpus that the whole farm may give to VWNs', wholeNumber('--cpus', 1, 4096))
  .option('--memory <mib>', 'memory that the whole farm may give to VWNs', wholeNumber('--memory', 64, 2 ** 24))
  .option('--scratch <gib>', 'scratch disk that the whole farm may give to VWNs', wholeNumber('--scratch', 1, 2 ** 16))
  .option('--templates <gib>', 'disk for templates of each bait; 0 boots every VWN (default: 8)', wholeNumber('--templates', 0, 2 ** 16))
  .option('--nats-port <port>', 'port of the NATS server (default: a free one)', wholeNumber('--nats-port', 1, 65_535))
  .option('--http-port <port>', "port of the controller's read-only HTTP (default: a free one)", wholeNumber('--http-port', 1, 65_535))
  .option('--detach', 'return as soon as the farm is ready')
  .action(async (_options: unknown, command: Command) => {
    const { up } = await import('./farm/up.ts')
    await up(await contextOf(command), command.opts())
  })

program
  .command('down')
  .description('stop the local farm of this home and remove what it made, images aside')
  .option('--home <dir>', 'as `wnod --home`')
  .option('--keep', 'only stop it: settings, logs and history stay for the next `wnod up`')
  .action(async (_options: unknown, command: Command) => {
    const { down } = await import('./farm/down.ts')
    await down(await contextOf(command), command.opts())
  })

program
  .command('creds')
  .description('make NATS credentials for a farm that is not a local one: claims for the server, a file per program')
  .argument('<folder>')
  .argument('<hosts...>')
  .action(async (folder: string, hosts: string[], _options: unknown, command: Command) => {
    await (await import('./write-creds.ts')).writeCreds(await contextOf(command), folder, hosts)
  })

// What `wnod up --detach` leaves in the background.
program
  .command('supervise', { hidden: true })
  .option('--home <dir>')
  .action(async (_options: unknown, command: Command) => {
    const { superviseFarm } = await import('./farm/up.ts')
    await superviseFarm(await contextOf(command))
  })

// ---------------------------------------------------------------- programs

passOn('run', 'run a command in a VWN, as the job starter does: run [OPTIONS] -- COMMAND ARG…', async (args) => {
  const { runAs, takeAs } = await import('./run-as.ts')
  const as = takeAs(args)
  process.env['WNOD_PROGRESS'] ??= '1' // not as an argument: the first one may name a batch system
  await (as === null ? become('starter.cjs', args) : runAs(as.user, as.rest, process.env))
})
passOn('hook', 'what batch systems call before, during and after a job: hook ACTION [OPTIONS]', (args) => become('hook.cjs', args))
passOn('controller', 'run the controller', (args) => become('controller.js', args))
passOn('bait', 'run a bait', (args) => become('bait.js', args))
passOn('image', 'build, list, verify and remove OS images', (args) => become('image.js', args))
passOn('doctor', 'what this host can do, and what is missing', (args) => become('bait.js', ['doctor', ...args]))
passOn('audit', 'what exists here that no record explains, and the reverse', (args) => become('bait.js', ['audit', ...args]))

// ---------------------------------------------------------------- batch systems

/** `wnod install SYSTEM`: each system adds its own options. */
const installs = program.command('install').description('let the jobs of a batch system on this machine go into VWNs')
const installer = (system: string, description: string): Command =>
  installs.command(system)
    .description(description)
    .option('--check', 'only say what is there; fails where anything is missing')
    .option('--dry-run', 'only say what would be done')
    .option('--undo', 'take it back')
    .addOption(new Option('--unreachable <what>', 'jobs while the bait of their host is away: they never run there, and the batch system runs them again, or they run bare, on the host itself').choices(['requeue', 'bare']).default('requeue'))
    .option('--json', 'print JSON')
    .option('--home <dir>', 'as `wnod --home`')

installer('gridengine', 'what a queue calls, and the settings of the queue and of the cluster')
  .requiredOption('--queue <queue>', 'whose jobs go into VWNs')
  .option('--folder <dir>', 'where what the queue calls is, on every host of it', '/etc/wnod/gridengine')
  .option('--types <types...>', 'what `-l vm=TYPE` may name (default: the types of the mapping)')
  .option('--grace <seconds>', '`qdel` gives a job TERM and so long to end, in place of KILL at once', wholeNumber('--grace', 1, 3600))
  .option('--no-epilog', 'leave the epilog of the queue alone: the slot is free as soon as the starter has ended')
  .option('--prolog', 'a job that this host has no VWN for goes back into the queue before it starts')
  .option('--resources', 'a load sensor and `-l vm_TYPE=1`: what each type has room for on this host')
  .option('--host <name>', 'this host, as Grid Engine calls it (default: its own name)')
  .option('--files', 'only the files: for the other hosts of the queue')
  .option('--replace', 'set also what somebody else has set; --undo puts it back')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./install/gridengine.ts')).installGridEngine(await contextOf(command), command.opts())
  })

installer('slurm', 'the plugin, its line in plugstack.conf, and RequeueExit in slurm.conf')
  .option('--default <what>', 'jobs that do not say --vm: none (stay on the bare node), mapping (as the mapping says), or a type', 'none')
  .option('--partition <list>', 'partitions that --default holds for (default: all)')
  .option('--without-plugin', 'nothing is compiled: job_submit.lua hands batch scripts over, and they say --comment=vm=TYPE')
  .option('--scripts <dir>', 'where job_submit.lua of ours goes with --without-plugin', '/usr/local/lib/wnod')
  .option('--plugin-dir <dir>', 'in place of PluginDir of the running Slurm')
  .option('--plugstack <file>', 'in place of its PlugStackConfig')
  .option('--slurm-conf <file>', 'in place of its SLURM_CONF')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./install/slurm.ts')).installSlurm(await contextOf(command), command.opts())
  })

installer('lsf', 'JOB_STARTER of a queue in lsb.queues, esub and elim in LSF_SERVERDIR')
  .option('--queue <name>', 'the queue whose jobs go into VWNs')
  .option('--queues <file>', 'the file lsb.queues')
  .option('--server-dir <dir>', 'LSF_SERVERDIR, in place of that of the environment')
  .option('--types <list>', 'names of the VWN types, with commas: the esub refuses others')
  .option('--scripts <dir>', 'where our own scripts go', '/usr/local/lib/wnod')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./install/lsf.ts')).installLsf(await contextOf(command), command.opts())
  })

installer('pbs', 'the hook of OpenPBS and its settings, or $job_starter of Torque')
  .option('--mom-config <file>', "Torque: the settings of its mom, mom_priv/config; without it, it is OpenPBS")
  .option('--types <list>', 'names of the VWN types, with commas: the hook refuses others')
  .option('--all', 'jobs that do not ask for a type go into VWNs too, as the mapping says')
  .option('--scripts <dir>', 'where our own scripts go', '/usr/local/lib/wnod')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./install/pbs.ts')).installPbs(await contextOf(command), command.opts())
  })

installer('htcondor', 'USER_JOB_WRAPPER and STARTD_CRON of an execute node')
  .option('--config-dir <dir>', "folder of HTCondor's settings", '/etc/condor/config.d')
  .option('--all', 'jobs that do not ask for a type go into VWNs too, as the mapping says')
  .option('--job-hooks', 'a job that this host has no VWN for is idle again before it starts, and a slot is free when nothing of its job is left')
  .option('--scripts <dir>', 'where our own scripts go', '/usr/local/lib/wnod')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./install/htcondor.ts')).installHtcondor(await contextOf(command), command.opts())
  })

// ---------------------------------------------------------------- listings

listing('status', 'the controller itself: bus, mapping, counts').action(async (_options: unknown, command: Command) => {
  await (await import('./show/listings.ts')).status(await contextOf(command))
})

listing('hosts', 'the hosts of the farm').action(async (_options: unknown, command: Command) => {
  await (await import('./show/listings.ts')).hosts(await contextOf(command))
})

listing('vwns', 'the virtual worker nodes')
  .option('--all', 'also those that are gone')
  .option('--host <host>', 'only on this host')
  .option('--type <type>', 'only of this type')
  .option('--state <state>', 'only in this state')
  .option('--limit <n>', 'at most so many', wholeNumber('--limit', 1, 10_000))
  .action(async (_options: unknown, command: Command) => {
    const { all, host, type, state, limit } = command.opts<{ all?: boolean; host?: string; type?: string; state?: string; limit?: number }>()
    await (await import('./show/listings.ts')).vwns(await contextOf(command), { gone: all, host, type, state, limit })
  })

listing('jobs', 'the jobs, latest first')
  .option('--live', 'only jobs that have not ended')
  .option('--user <user>', 'only of this user')
  .option('--host <host>', 'only on this host')
  .option('--vwn <vwn>', 'only in this VWN')
  .option('--type <type>', 'only in VWNs of this type')
  .option('--limit <n>', 'at most so many', wholeNumber('--limit', 1, 10_000))
  .action(async (_options: unknown, command: Command) => {
    const { live, user, host, vwn, type, limit } = command.opts<{ live?: boolean; user?: string; host?: string; vwn?: string; type?: string; limit?: number }>()
    await (await import('./show/listings.ts')).jobs(await contextOf(command), { only: live ? 'live' : undefined, user, host, vwn, type, limit })
  })

listing('types', 'the VWN types that the mapping knows').action(async (_options: unknown, command: Command) => {
  await (await import('./show/listings.ts')).types(await contextOf(command))
})

listing('images', 'the OS images that the hosts have').action(async (_options: unknown, command: Command) => {
  await (await import('./show/listings.ts')).images(await contextOf(command))
})

listing('events', 'what happened to VWNs, and why, one line each')
  .option('--follow', 'go on with what happens')
  .option('--vwn <vwn>', 'only of this VWN')
  .option('--host <host>', 'only on this host')
  .option('--job <job>', 'only with this job')
  .option('--since <time>', 'from then on: a date, or 30s, 10m, 2h, 1d ago (default: the last 100)', momentGiven('--since'))
  .option('--limit <n>', 'at most so many, the last ones', wholeNumber('--limit', 1, 1_000))
  .action(async (_options: unknown, command: Command) => {
    const enough = new AbortController()
    const asked = command.opts<EventsAsked>()
    if (asked.follow === true) process.once('SIGINT', () => enough.abort())
    await (await import('./events.ts')).events(await contextOf(command), asked, enough.signal)
  })

program
  .command('top')
  .description('the farm as it changes, on the terminal')
  .option('--no-color', 'as `wnod --no-color`')
  .option('--home <dir>', 'as `wnod --home`')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./top/top.ts')).top(await contextOf(command))
  })

listing('show', 'one VWN, job or host in full')
  .argument('<id>', 'v17, h1-17 or h1')
  .action(async (id: string, _options: unknown, command: Command) => {
    await (await import('./show/one.ts')).showOne(await contextOf(command), id)
  })

listing('explain', 'why a job got what it got; or what a user would get')
  .argument('[job]')
  .option('--user <user>', 'what this user would get')
  .option('--group <group...>', "the user's groups (default: as this machine knows them)")
  .option('--queue <queue>')
  .option('--project <project>')
  .option('--batch-system <name>')
  .option('--type <type>', 'the type the user would ask for')
  .action(async (job: string | undefined, _options: unknown, command: Command) => {
    const { user, group, queue, project, batchSystem, type } =
      command.opts<{ user?: string; group?: string[]; queue?: string; project?: string; batchSystem?: string; type?: string }>()
    if ((job === undefined) === (user === undefined)) throw new VwnError('OPTION_INVALID', { problem: 'name either a job or --user' })
    const asked = job === undefined ? { query: { user, group, queue, project, batch_system: batchSystem, type } } : { job }
    await (await import('./show/one.ts')).explainOne(await contextOf(command), asked)
  })

listing('receipt', 'where the time of a job went')
  .argument('<job>')
  .action(async (job: string, _options: unknown, command: Command) => {
    await (await import('./show/one.ts')).receipt(await contextOf(command), job)
  })

// ---------------------------------------------------------------- what was

const recordFormat = (more: readonly string[]): Option => new Option('--format <format>', 'ur: usage records of the Open Grid Forum').choices([...more, 'jsonl', 'csv', 'ur'])

const accounting = listing('accounting', 'what ended jobs have used: one record each')
  .enablePositionalOptions()
  .option('--since <time>', 'jobs that ended from then on: a date, or 90m, 12h, 7d ago', momentGiven('--since'))
  .option('--until <time>', 'jobs that ended before then', momentGiven('--until'))
  .option('--user <user>', 'only of this user')
  .option('--group <group>', 'only of this group')
  .option('--project <project>', 'only of this project')
  .option('--type <type>', 'only in VWNs of this type')
  .addOption(recordFormat(['table']))
  .addOption(new Option('--sum-by <what>', 'sums in place of records').choices(sumKeys))
  .action(async (_options: unknown, command: Command) => {
    const { format, sumBy, since, until, user, group, project, type } = command.opts<AccountingOptions>()
    const query = { since, until, user, group, project, type }
    await (await import('./accounting.ts')).accounting(await contextOf(command), { query, format, sumBy })
  })

accounting
  .command('export')
  .description('write every record that is not acknowledged yet into a file, whole or not at all')
  .requiredOption('--to <file>', 'the file; one that is there is replaced')
  .addOption(recordFormat([]).default('jsonl'))
  .option('--json', 'print JSON')
  .option('--home <dir>', 'as `wnod --home`')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./accounting.ts')).exportRecords(await contextOf(command), command.opts())
  })

accounting
  .command('acknowledge')
  .description('records up to this one are taken: they are exported no more, and their jobs may be forgotten')
  .argument('<record>', 'the last record that is taken', wholeNumber('record', 0, Number.MAX_SAFE_INTEGER))
  .option('--json', 'print JSON')
  .option('--home <dir>', 'as `wnod --home`')
  .action(async (record: number, _options: unknown, command: Command) => {
    await (await import('./accounting.ts')).acknowledgeRecords(await contextOf(command), record)
  })

program
  .command('history')
  .description('what the controller remembers')
  .command('export')
  .description('ended jobs, VWNs that are gone and what happened to them, as JSON lines, oldest first')
  .option('--to <file>', 'into this file, whole or not at all (default: stdout)')
  .option('--home <dir>', 'as `wnod --home`')
  .action(async (_options: unknown, command: Command) => {
    await (await import('./history.ts')).exportHistory(await contextOf(command), command.opts<{ to?: string }>().to)
  })

listing('times', 'how long jobs have waited of late, by type and host, and what went wrong')
  .option('--hours <n>', 'how far back (default: 24)', wholeNumber('--hours', 1, 168))
  .action(async (_options: unknown, command: Command) => {
    await (await import('./history.ts')).times(await contextOf(command), command.opts<{ hours?: number }>().hours)
  })

listing('logs', "what the programs of this machine's farm have logged about a job")
  .argument('<job>', 'h1-17, or a trace: 32 hexadecimal digits')
  .action(async (job: string, _options: unknown, command: Command) => {
    (await import('./show/logs.ts')).jobLogs(await contextOf(command), job)
  })

// ---------------------------------------------------------------- orders

verb('drain', 'the host finishes what it has and takes no more')
  .argument('<host>')
  .action(async (host: string, _options: unknown, command: Command) => {
    await (await import('./orders.ts')).orderHost(await contextOf(command), 'drain', host)
  })

verb('undrain', 'the host takes jobs again')
  .argument('<host>')
  .action(async (host: string, _options: unknown, command: Command) => {
    await (await import('./orders.ts')).orderHost(await contextOf(command), 'undrain', host)
  })

verb('kill', 'end a VWN at once, and the job in it')
  .argument('<vwn>')
  .option('--yes', 'do it, not only show it')
  .action(async (vwn: string, _options: unknown, command: Command) => {
    await (await import('./orders.ts')).kill(await contextOf(command), vwn, command.opts<{ yes?: boolean }>().yes ?? false)
  })

// ---------------------------------------------------------------- one VWN, looked at now

listing('console', 'what the guest of a VWN has said on its console')
  .argument('<vwn>')
  .option('--follow', 'go on printing until the VWN is gone')
  .action(async (vwn: string, _options: unknown, command: Command) => {
    const enough = new AbortController()
    const follow = command.opts<{ follow?: boolean }>().follow ?? false
    if (follow) process.once('SIGINT', () => enough.abort())
    await (await import('./look.ts')).printConsole(await contextOf(command), vwn, follow ? enough.signal : null)
  })

listing('samples', 'processors, memory, disk and network of a VWN within the last hour, as its host measures them')
  .argument('<vwn>')
  .action(async (vwn: string, _options: unknown, command: Command) => {
    await (await import('./look.ts')).printSamples(await contextOf(command), vwn)
  })

/** Commander has said what was wrong; asking for help or the version is no failure. */
function exitStatus(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  return sayFailure(error, (text) => void process.stderr.write(`${text}\n`))
}

// A reader that has seen enough (`wnod jobs | head`), or a terminal that has hung up, is no failure either.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE' || (error.code === 'EIO' && process.stdout.isTTY)) process.exit(0)
  throw error
})

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = exitStatus(error)
}
