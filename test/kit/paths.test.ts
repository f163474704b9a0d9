import { expect, test } from 'vitest'
import { checkSocketPath, chooseHome, homePaths } from '../../kit/paths.ts'

test('the home is as told, else from the environment, else where state belongs', () => {
  expect(chooseHome('/x/../y', { WNOD_HOME: '/z' }, 0)).toBe('/y')
  expect(chooseHome(undefined, { WNOD_HOME: '/z' }, 0)).toBe('/z')
  expect(chooseHome(undefined, {}, 0)).toBe('/var/lib/wnod')
  expect(chooseHome(undefined, { HOME: '/home/ada' }, 1000)).toBe('/home/ada/.local/state/wnod')
  expect(chooseHome(undefined, { HOME: '/home/ada', XDG_STATE_HOME: '/s' }, 1000)).toBe('/s/wnod')
})

test('everything is below the home, images aside', () => {
  const home = homePaths('/f', { images: '/shared/images' })
  expect(home.images).toBe('/shared/images')
  expect(homePaths('/f').images).toBe('/f/images')
  expect(home.hash).toMatch(/^[0-9a-f]{12}$/)
  expect(homePaths('/g').hash).not.toBe(home.hash)
  expect(home.creds('controller')).toBe('/f/etc/creds/controller.creds')
  const host = home.host('h1')
  expect(host).toMatchObject({ config: '/f/etc/bait-h1.toml', socket: '/f/run/h1.sock', proof: '/f/hosts/h1/proof' })
  expect(host.job('h1-17')).toBe('/f/hosts/h1/jobs/h1-17.json')
  expect(host.vm('v17')).toMatchObject({ handle: '/f/hosts/h1/vms/v17/handle.json', qmpSocket: '/f/hosts/h1/vms/v17/qmp.sock' })
})

test('a path too long for a socket is refused before anything is made', () => {
  const tooLong = expect.objectContaining({ code: 'HOME_PATH_TOO_LONG' }) as Error
  expect(() => homePaths(`/${'x'.repeat(80)}`)).toThrow(tooLong)
  expect(() => homePaths('/f').host('h'.repeat(100))).toThrow(tooLong)
  expect(() => homePaths('/f').host('h'.repeat(60)).vm('v'.repeat(60))).toThrow(tooLong)
  expect(checkSocketPath('/'.padEnd(107, 'x'))).toHaveLength(107)
  expect(() => checkSocketPath('/'.padEnd(108, 'x'))).toThrow(tooLong)
  expect(() => checkSocketPath('/'.padEnd(70, 'é'))).toThrow(tooLong)
})
