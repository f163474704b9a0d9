/**
 * The controller as a program: `controller [--home DIR] [--config FILE] [--check-config] [--version]`. TERM and INT end it in
 * order, HUP reads the mapping again.
 */
import { existsSync, readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { effectiveTable } from '../kit/config.ts'
import { createLog } from '../kit/log.ts'
import { complaint, exitCodeOf, runProgram } from '../kit/program.ts'
import { version } from '../kit/version.ts'
import { loadSettings, type Settings } from './config.ts'
import { controllerService } from './controller.ts'
import { readMapping } from './mapping.ts'

const name = 'wnod controller'

const command = new Command(name)
  .description('decides which VWN each job gets, and keeps the farm’s history')
  .option('--home <dir>', 'the folder with all state of one farm (default: WNOD_HOME)')
  .option('--config <file>', 'settings; without it the defaults count')
  .option('--check-config', 'print the settings in force and where each comes from, check the mapping, and end')
  .version(version)
  .exitOverride()
  .action(async (options: { home?: string; config?: string; checkConfig?: true }) => {
    const { settings, effective } = loadSettings({ home: options.home, config: options.config ?? null, env: process.env })
    if (options.checkConfig) return check(settings, effectiveTable(effective))
    const log = createLog({ program: 'controller', level: settings.logLevel })
    await runProgram({
      name,
      log,
      build: (kit) => {
        const service = controllerService(settings, kit)
        process.on('SIGHUP', () => service.reloadMapping())
        return Promise.resolve(service)
      },
    })
  })

/** A mapping that is wrong is as bad as settings that are; one that is not there yet is not. */
async function check(settings: Settings, table: string): Promise<void> {
  process.stdout.write(table)
  if (!existsSync(settings.mapping)) {
    process.stderr.write(`mapping: ${settings.mapping} does not exist yet: no job gets a VWN before it does\n`)
    return
  }
  const { mapping, warnings } = await readMapping(readFileSync(settings.mapping, 'utf8'), settings.mapping, settings.images)
  process.stderr.write(`mapping: ${mapping.types.length} types, ${mapping.rules.length} rules\n${warnings.map((line) => `mapping: warning: ${line}\n`).join('')}`)
}

try {
  await command.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else {
    process.stderr.write(complaint(name, error))
    process.exitCode = exitCodeOf(error)
  }
}
