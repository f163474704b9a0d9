import { statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pack, extract } from 'tar-stream'
import type { Header } from 'tar-stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeAgent, type Ended } from './harness.ts'

type Entry = Partial<Header> & { readonly name: string; readonly body?: string }

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack()
  for (const { body = '', ...header } of entries) tar.entry(header, body)
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function untar(bytes: Buffer): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  const tar = extract()
  tar.end(bytes)
  for await (const entry of tar) {
    let body = ''
    for await (const chunk of entry as AsyncIterable<Buffer>) body += chunk.toString('utf8')
    found[entry.header.name] = entry.header.type === 'file' ? body : `${entry.header.type} ${entry.header.linkname ?? ''}`.trim()
  }
  return found
}

describeAgent('a staged directory', 60_000, (suite) => {
  let elsewhere: string
  beforeAll(async () => {
    elsewhere = await mkdtemp(join(tmpdir(), 'wnod-stage-'))
  })
  afterAll(() => rm(elsewhere, { recursive: true, force: true }))
  const staged = async (script: string, entries: readonly Entry[], cwd: string | null = null): Promise<Ended> => {
    const task = await suite.agent.run({ argv: ['bash', '-c', script], stage: true, cwd })
    const bytes = await tarOf(entries)
    for (let at = 0; at < bytes.length; at += 10_000) task.stage.write(bytes.subarray(at, at + 10_000))
    task.stage.end()
    return task.over
  }

  test('is unpacked with modes, times and links, and only what changed comes back', async () => {
    const { exited, stdout, collect } = await staged(
      'stat -c "%n %a %Y" script link data | sort; ls -A | wc -l; cat data; echo more >> data; echo new > made; mkdir -p d/e; ln -s data l2; rm same2; cat same > /dev/null',
      [
        { name: 'script', mode: 0o750, mtime: new Date(1_000_000_000_000), body: 'x' },
        { name: 'link', type: 'symlink', linkname: 'script' },
        { name: 'data', mode: 0o600, body: 'old\n' },
        { name: 'same', body: 'same' },
        { name: 'same2', body: 'same' },
      ],
    )
    expect(exited).toMatchObject({ code: 0 })
    expect(stdout.toString()).toMatch(/^data 600 \d+\nlink 777 \d+\nscript 750 1000000000\n5\nold\n$/)
    expect(await untar(collect)).toEqual({ './data': 'old\nmore\n', './made': 'new\n', './d/': 'directory', './d/e/': 'directory', './l2': 'symlink data' })
  })

  test('is where the caller’s own directory is, where that name is free', async () => {
    const own = join(suite.agent.folder, 'tmp/project/x')
    expect((await staged('pwd', [], own)).stdout.toString()).toBe(`${own}\n`)
    expect((await staged('pwd', [], '/usr')).stdout.toString()).toBe(`${join(suite.agent.folder, 'home/ada/stage')}\n`)
    expect((await suite.agent.clean()).left).toEqual([])
  })

  test.each<[string, readonly Entry[]]>([
    ['a name that climbs out', [{ name: '../../escape', body: 'x' }]],
    ['an absolute name', [{ name: '/tmp/wnod-escape', body: 'x' }]],
    ['a name behind a link that leads out', [{ name: 'out', type: 'symlink', linkname: '/tmp' }, { name: 'out/wnod-escape', body: 'x' }]],
  ])('%s is refused, and the job does not run', async (_what, entries) => {
    const { failed, started } = await staged('echo ran', entries)
    expect(started).toBe(false)
    expect(failed).toMatchObject({ step: 'stage' })
    expect(() => statSync('/tmp/wnod-escape')).toThrow()
  })

  test('a tar that is none is refused', async () => {
    const task = await suite.agent.run({ argv: ['true'], stage: true })
    task.stage.write(Buffer.alloc(20_000, 'garbage'))
    task.stage.end()
    expect(await task.over).toMatchObject({ started: false, failed: { step: 'stage' } })
  })

  test('is gone when the connection breaks while it is filled', async () => {
    const task = await suite.agent.run({ argv: ['true'], stage: true })
    task.stage.write((await tarOf([{ name: 'half', body: 'x'.repeat(5000) }])).subarray(0, 2000))
    task.via.destroy()
    await task.over
    expect((await suite.agent.clean()).left).toEqual([])
  })

  test('no file is too many', async () => {
    const entries = Array.from({ length: 500 }, (_, n) => ({ name: `f${n}`, body: String(n) }))
    const { stdout, collect } = await staged('ls | wc -l; for i in $(seq 0 2 499); do echo changed > f$i; done', entries)
    expect(stdout.toString()).toBe('500\n')
    expect(Object.keys(await untar(collect))).toHaveLength(250)
  })
})
