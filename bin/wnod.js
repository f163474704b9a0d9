#!/usr/bin/env node
// `wnod run` is the job starter itself, in this very process, and `wnod hook` the hooks: what starts once per job passes by the rest of the command line.
import { run } from './built.js'

const [command, ...rest] = process.argv.slice(2)
const options = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest
if (command === 'run' && !options.some((option) => option === '--as' || option.startsWith('--as='))) {
  process.argv.splice(2, 1)
  await run('starter.cjs')
} else if (command === 'hook') {
  process.argv.splice(2, 1)
  await run('hook.cjs')
} else {
  await run('wnod.js')
}
