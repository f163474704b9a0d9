// Makes the pictures of docs/monitor.md anew: a farm that is played, a real controller, a real browser.
import { build } from 'esbuild'

process.chdir(new URL('..', import.meta.url).pathname)
const outfile = 'dist/screens.js'
await build({ entryPoints: ['test/harness/screens.ts'], outfile, bundle: true, format: 'esm', platform: 'node', target: 'node20', packages: 'external', loader: { '.sql': 'text' } })
const { makeScreens } = await import(new URL(`../${outfile}`, import.meta.url))
for (const file of await makeScreens('docs/monitor')) process.stderr.write(`wrote ${file}\n`)
process.exit(0)
