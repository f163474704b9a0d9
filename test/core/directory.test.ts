import { describe, expect, test } from 'vitest'
import { inMountOrder, mountName, mountPointProblem, startPlace, unknownMountOption, type Mount } from '../../core/directory.ts'

const mount = (at: string): Mount => ({ server: 'filer', port: 2049, path: '/export', at, readOnly: false, options: '' })

describe('where a job starts', () => {
  const mounts = [mount('/home'), mount('/data')]
  test.each([
    [null, '/home/ada/x', false, 'shared'],
    [null, '/data', true, 'shared'],
    [null, '/database', true, 'stage'],
    [null, '/database', false, 'asked'],
    [null, null, false, 'asked'],
    ['shared', '/data/x', true, 'shared'],
    ['shared', '/tmp', true, null],
    ['shared', null, false, null],
    ['stage', '/home/ada', false, 'stage'],
    ['home', '/home/ada', true, 'home'],
  ] as const)('policy %s, directory %s, staging asked %s: %s', (policy, cwd, stage, is) => {
    expect(startPlace(policy, mounts, { cwd, stage })).toBe(is)
  })

  test('without mounts as the job asks', () => {
    expect(startPlace(null, [], { cwd: '/home/ada', stage: false })).toBe('asked')
    expect(startPlace(null, [], { cwd: '/home/ada', stage: true })).toBe('stage')
  })
})

test.each(['/home', '/home/shared', '/data', '/usr/local', '/var/spool/x', '/tmp/x', '/devices', '/opt'])('%s may be a mount point', (at) => {
  expect(mountPointProblem(at)).toBe(null)
})

test.each([
  ['home', /absolute path/], ['/home/', /absolute path/], ['/a//b', /absolute path/], ['/a/../etc', /absolute path/], ['/./a', /absolute path/],
  ['/', /would hide \//], ['/usr', /would hide \/usr/], ['/tmp', /would hide \/tmp/], ['/etc', /would hide \/etc/], ['/run/wnod', /would hide what is in \/run/],
])('%s may not', (at, why) => {
  expect(mountPointProblem(at)).toMatch(why)
})

test.each([['', null], ['hard', null], ['soft,timeo=50,actimeo=1', null], ['hard,port=1', 'port'], ['vers=3', 'vers'], ['addr=1', 'addr']])('options %j: %s is unknown', (options, unknown) => {
  expect(unknownMountOption(options)).toBe(unknown)
})

test('an export is named as mount(8) does it, and an outer mount comes first', () => {
  expect([mountName({ server: 'filer', path: '/x' }), mountName({ server: 'fe80::1', path: '/x' })]).toEqual(['filer:/x', '[fe80::1]:/x'])
  expect(inMountOrder([mount('/a/b/c'), mount('/z'), mount('/a/b')]).map(({ at }) => at)).toEqual(['/z', '/a/b', '/a/b/c'])
})
