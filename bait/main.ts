/**
 * The bait as a program: `bait [--home DIR] --config FILE [--check-config] [--version]`, and two looks at a host, with the bait up or
 * down: `bait doctor`, `bait audit`. TERM and INT end it in order; VMs run on.
 */
import { Command, CommanderError } from 'commander'
import { VwnError } from '../core/errors.ts'
import { effectiveTable, type Config } from '../kit/config.ts'
import { chooseImageStore } from '../kit/image-store.ts'
import { createLog } from '../kit/log.ts'
import { chooseHome, homePaths, type Home } from '../kit/paths.ts'
import { plainLines, safeJson } from '../kit/plain.ts'
import { complaint, exitCodeOf, runProgram } from '../kit/program.ts'
import { withProgress } from '../kit/progress.ts'
import { version } from '../kit/version.ts'
import { audit, auditText } from './audit.ts'
import { createBait } from './bait.ts'
import { baitSchema, loadBaitConfig, type BaitSettings } from './config.ts'
import { doctor, doctorText, isFit } from './doctor.ts'
import { openJobs } from './jobs-half.ts'

const name = 'wnod bait'

interface Options {
  readonly home?: string
  readonly config?: string
  readonly host?: string
  readonly checkConfig?: true
  readonly json?: true
  readonly known?: true
}

const homeOf = ({ home }: Options): Home => {
  const chosen = chooseHome(home, process.env)
  return homePaths(chosen, { images: chooseImageStore(chosen, process.env) })
}

const settingsOf = (options: Options, home: Home): Config<BaitSettings> =>
  loadBaitConfig(home.images, { file: options.config ?? null, overrides: [{ key: 'host', value: options.host, origin: '--host' }] })

const print = (json: true | undefined, value: unknown, text: string): void => void process.stdout.write(json ? `${safeJson(value, 2)}\n` : plainLines(text))

const program = new Command(name)
  .description('owns the virtual machines of one host, and takes jobs from its batch system')
  .option('--home <dir>', 'the folder with all state of one farm (default: WNOD_HOME)')
  .option('--config <file>', 'settings')
  .option('--host <name>', "this host's name, over that of the settings")
  .option('--check-config', 'print the settings in force and where each comes from, and end')
  .version(version)
  .exitOverride()
  .action(async (options: Options) => {
    const home = homeOf(options)
    const { settings, effective } = settingsOf(options, home)
    if (options.checkConfig) return void process.stdout.write(effectiveTable(effective))
    process.umask(0o077)
    const log = createLog({ program: 'bait', level: settings.log_level })
    await runProgram({ name, log, build: (kit) => Promise.resolve(createBait(kit, home, settings, { openJobs })) })
  })

program
  .command('doctor')
  .description('what this host can do, and what is missing; boots a probe guest per accelerator')
  .option('--home <dir>', 'the farm that is meant (default: WNOD_HOME)')
  .option('--config <file>', "a bait's settings, for its own ideas of QEMU and deadlines")
  .option('--known', 'do not boot probe guests again where their answer is known')
  .option('--json', 'print JSON')
  .action(async (_options: Options, command: Command) => {
    const options = command.optsWithGlobals<Options>()
    const home = homeOf(options)
    const { images, vm } = options.config === undefined ? baitSchema(home.images).parse({ host: 'doctor' }) : settingsOf(options, home).settings
    const findings = await withProgress('booting a probe guest for each accelerator', () => doctor({ home, images, vm, path: process.env['PATH'] ?? '', fresh: options.known !== true }))
    print(options.json, { fit: isFit(findings), findings }, doctorText(findings))
    process.exitCode = isFit(findings) ? 0 : 1
  })

program
  .command('audit')
  .description('what is on this host that no record explains, and what records speak of that is not there')
  .option('--home <dir>', 'the farm that is meant (default: WNOD_HOME)')
  .option('--json', 'print JSON')
  .action(async (_options: Options, command: Command) => {
    const options = command.optsWithGlobals<Options>()
    const findings = await withProgress('looking at processes and files', () => audit({ home: homeOf(options) }))
    print(options.json, { unexplained: findings.length, findings }, auditText(findings))
    process.exitCode = findings.length === 0 ? 0 : 1
  })

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else {
    process.stderr.write(complaint(name, error))
    process.exitCode = error instanceof VwnError ? exitCodeOf(error) : 70
  }
}
