#!/usr/bin/env node
/**
 * `wnod hook`: what batch systems call beside the job starter, before, during and after a job. Idempotent, silent where all is well, and safe to
 * call where there is nothing to do; what is wrong is one line on stderr.
 */
import { VwnError } from '../core/errors.ts'
import { controlJobs, releaseJobs, type Done } from './hook/control.ts'
import { lease } from './hook/lease.ts'
import { parseHook, usage, type HookOptions } from './hook/options.ts'
import { pending } from './hook/pending.ts'
import { resources } from './hook/resources.ts'
import { jobHook } from './htcondor/job-hook.ts'
import { complain } from './starter/ending.ts'
import { UsageError } from './starter/options.ts'

main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = failed(error)
})

async function main(args: readonly string[]): Promise<void> {
  const options = parseHook(args, process.env)
  if (options.flag('help')) return void process.stdout.write(usage)
  switch (options.words[0]) {
    case 'control': return tell(options, await controlJobs(options))
    case 'release': return tell(options, await releaseJobs(options))
    case 'lease': return void (process.exitCode = await lease(options))
    case 'htcondor': return jobHook(options)
    case 'pending': return pending(options)
    case 'resources': return resources(options)
    default: throw new UsageError(`no such hook "${options.words[0] ?? ''}"; see --help`)
  }
}

function tell(options: HookOptions, jobs: readonly Done[]): void {
  if (options.flag('verbose')) process.stdout.write(jobs.map(({ job, is }) => `${job} ${is}\n`).join(''))
}

function failed(error: unknown): number {
  if (error instanceof UsageError) {
    complain(error.message)
    return 2
  }
  if (!(error instanceof VwnError)) throw error
  complain(`${error.message} (${error.code}): ${error.entry.hint}`)
  return error.entry.exit
}
