// Writes the pages of docs/ that are printed from code. Test files compare them; this makes them equal again.
import { build } from 'esbuild'
import { writeFileSync } from 'node:fs'

process.chdir(new URL('..', import.meta.url).pathname)

// Packages in CommonJS ask for node's own modules this way.
const requiring = `import { createRequire } from 'node:module'; const require = createRequire('${process.cwd()}/')`

/** Page → the module that prints it; each exports `page(): string`. */
const pages = { 'docs/api.md': 'test/harness/api-page.ts', 'docs/batch-conformance.md': 'test/batch/page.ts', 'docs/conformance.md': 'test/conformance/page.ts', 'docs/errors.md': 'test/harness/errors-page.ts', 'docs/lifecycle.md': 'test/harness/lifecycle-page.ts' }

for (const [page, from] of Object.entries(pages)) {
  const { outputFiles } = await build({ entryPoints: [from], bundle: true, write: false, format: 'esm', platform: 'node', loader: { '.sql': 'text' }, banner: { js: requiring } })
  const code = Buffer.from(outputFiles[0].contents).toString('base64')
  const printer = await import(`data:text/javascript;base64,${code}`)
  writeFileSync(page, printer.page())
  process.stderr.write(`wrote ${page}\n`)
}
