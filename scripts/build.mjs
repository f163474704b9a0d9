// Bundles each program to one file in dist/. Entries whose source does not exist yet are skipped and named.
import { build } from 'esbuild'
import { execFile } from 'node:child_process'
import { chmod, mkdir, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { build as buildPage } from 'vite'

/**
 * `esm` programs may use any dependency of package.json; native ones stay outside the bundle. Those that start once
 * per job or inside a guest are CommonJS, which starts a few milliseconds sooner, and stand alone.
 */
const programs = [
  { from: 'cli/main.ts', to: 'wnod.js', format: 'esm', target: 'node20' },
  { from: 'controller/main.ts', to: 'controller.js', format: 'esm', target: 'node20' },
  { from: 'bait/main.ts', to: 'bait.js', format: 'esm', target: 'node20' },
  { from: 'images/main.ts', to: 'image.js', format: 'esm', target: 'node20' },
  { from: 'bench/main.ts', to: 'bench.js', format: 'esm', target: 'node20' },
  { from: 'bench/player.ts', to: 'bench-player.js', format: 'esm', target: 'node20' },
  { from: 'hooks/starter.ts', to: 'starter.cjs', format: 'cjs', target: 'node20', minify: true },
  { from: 'hooks/hook.ts', to: 'hook.cjs', format: 'cjs', target: 'node20', minify: true },
  { from: 'vwn-agent/main.ts', to: 'agent.cjs', format: 'cjs', target: 'node18', minify: true },
]

// Dependencies are CommonJS and call require() and __dirname; an ES module has neither until it makes them.
const requireBanner =
  "import { createRequire as wnodCreateRequire } from 'node:module'; const require = wnodCreateRequire(import.meta.url); const __dirname = import.meta.dirname;"

const exists = (path) => stat(path).then(() => true, () => false)

async function bundle({ from, to, format, target, minify = false }) {
  if (!(await exists(from))) return `skipped ${to} (no ${from})`
  const outfile = `dist/${to}`
  await build({
    entryPoints: [from],
    outfile,
    format,
    target,
    minify,
    bundle: true,
    platform: 'node',
    logLevel: 'warning',
    legalComments: 'none',
    sourcemap: minify ? false : 'linked',
    external: ['better-sqlite3', 'cpu-features', '*.node'],
    loader: { '.sql': 'text' },
    ...(format === 'esm' && { banner: { js: requireBanner } }),
  })
  await chmod(outfile, 0o755)
  return `built ${outfile} (${Math.ceil((await stat(outfile)).size / 1024)} KiB)`
}

/**
 * What runs before the job starter's node, what it becomes a job by, and what HTCondor calls. The starter works without them, save for what before.c
 * says and for jobs that are to run on the host itself.
 */
const compiled = [
  { from: 'hooks/starter/before.c', to: 'wnod-starter', flags: ['-static'] },
  { from: 'hooks/htcondor/wrapper.c', to: 'wnod-wrapper', flags: ['-static'] },
  { from: 'hooks/starter/exec.c', to: 'wnod-exec.node', flags: ['-shared', '-fPIC', '-fvisibility=hidden'] },
]

async function compile({ from, to, flags }) {
  const outfile = `dist/${to}`
  try {
    await promisify(execFile)('gcc', ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', ...flags, '-s', '-o', outfile, from])
  } catch (error) {
    return `skipped ${outfile} (${error.code === 'ENOENT' ? 'no gcc' : error.stderr.trim()})`
  }
  return `built ${outfile}`
}

/** The web page that the controller serves: names of its files change with their content, so that browsers may keep them. */
async function page() {
  const outDir = 'dist/monitor'
  await buildPage({
    root: 'monitor', configFile: false, logLevel: 'warn',
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    build: { outDir: `../${outDir}`, emptyOutDir: true, target: 'es2022', modulePreload: false, assetsInlineLimit: 0 },
  })
  return `built ${outDir}`
}

process.chdir(new URL('..', import.meta.url).pathname)
await mkdir('dist', { recursive: true })
for (const result of await Promise.allSettled([...programs.map(bundle), page(), ...compiled.map(compile)])) {
  if (result.status === 'fulfilled') process.stderr.write(`${result.value}\n`)
  else process.exitCode = 1 // esbuild has said why; the other programs are built all the same
}
