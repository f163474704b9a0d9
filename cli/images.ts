import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/**
 * The image store to use: as WNOD_IMAGES says, else that of the home if it has one, else the user's own, which all farms of that
 * user share: images are large and named by their digest. scripts/setup.mjs builds into the last.
 */
export function chooseImages(home: string, env: NodeJS.ProcessEnv): string {
  const told = env['WNOD_IMAGES']
  if (told !== undefined && told !== '') return resolve(told)
  const own = join(home, 'images')
  if (existsSync(own)) return own
  return resolve(env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'), 'wnod/images')
}
