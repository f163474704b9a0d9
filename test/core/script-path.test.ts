import fc from 'fast-check'
import { expect, test } from 'vitest'
import { foldersTo, otherPlace, scriptPlace, scriptRoots } from '../../core/script-path.ts'

test.each([
  ['/var/spool/slurmd/job00007/slurm_script', '/var/spool/slurmd/job00007', 'slurm_script'],
  ['/var/lib/slurm/slurmd/job00007/slurm_script', '/var/lib/slurm/slurmd/job00007', 'slurm_script'],
  ['/opt/sge/default/spool/n1/job_scripts/7', '/opt/sge/default/spool/n1/job_scripts', '7'],
  ['/home/ada/.lsbatch/1700000000.7', '/home/ada/.lsbatch', '1700000000.7'],
  ['/tmp/with blank/\xfc/$x', '/tmp/with blank/\xfc', '$x'],
])('%s is a place for a script', (path, folder, name) => {
  expect(scriptPlace(path)).toEqual({ folder, name })
})

test.each([
  '', '/', 'script', './var/spool/x/s', '/etc/cron.d/s', '/etc/x/s', '/usr/local/bin/x/s', '/root/x/s', '/run/wnod/x/s', '/proc/self/s',
  '/var/spool', '/var/spool/', '/var/spool/s', '/tmp/s', '/var/spoolx/a/s', '/var/spool/../etc/s', '/var/spool/a/../../../etc/x/s', '/var/spool/./a/s', '/var/spool//a/s',
  '/var/spool/a/s/', '/var/spool/a/.', '/var/spool/a/..', '/var/spool/a\netc/s', '/var/spool/a/s\n', '/var/spool/a\0/s', `/var/spool/a/${'s'.repeat(256)}`, `/var/spool${'/a'.repeat(2100)}`,
])('%j is none', (path) => {
  expect(scriptPlace(path)).toBeNull()
})

/** Paths near the border: parts that mean something to a file system, and any others. */
const part = fc.oneof(fc.constantFrom('', '.', '..', 'var', 'spool', 'tmp', 'etc', 'a', ' ', '\n', '*', '-rf'), fc.string({ unit: 'binary', maxLength: 8 }))
const hostile = fc.tuple(fc.constantFrom('', '/', ...scriptRoots, '/etc', '//tmp'), fc.array(part, { maxLength: 6 })).map(([root, parts]) => [root, ...parts].join('/'))

test('whatever the path, a place is below a root, in a folder to be made, and is the path itself', () => {
  let places = 0
  fc.assert(fc.property(hostile, (path) => {
    const place = scriptPlace(path)
    if (place === null) return
    places += 1
    expect(`${place.folder}/${place.name}`).toBe(path)
    expect(scriptRoots.filter((root) => place.folder.startsWith(`${root}/`))).toHaveLength(1)
    expect(path.slice(1).split('/').filter((name) => ['', '.', '..'].includes(name))).toEqual([])
    expect(path).not.toMatch(/[\0-\x1f\x7f]/)
  }), { numRuns: 2000 })
  expect(places).toBeGreaterThan(100)
})

test('a place of our own is always one path of two parts below its folder, and keeps a plain name', () => {
  fc.assert(fc.property(hostile, (path) => {
    const { folder, name } = otherPlace('/tmp', 'h1-7', path)
    expect(folder).toBe('/tmp/wnod-script-h1-7')
    expect(name).toMatch(/^[\w.+-]+$/)
    expect(['.', '..']).not.toContain(name)
  }))
  expect(otherPlace('/tmp', 'h1-7', '/etc/slurm_script').name).toBe('slurm_script')
  expect(otherPlace('/tmp', 'h1-7', '/etc/..').name).toBe('script')
})

test('folders on the way, from the top down', () => {
  expect(foldersTo('/var/spool/a')).toEqual(['/var', '/var/spool', '/var/spool/a'])
})
