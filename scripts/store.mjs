// Where set-up builds guest images and the demo looks for them: what kit/image-store.ts chooses for a home without a store of its own.
import { homedir } from 'node:os'
import { join } from 'node:path'

export const imageStore = process.env.WNOD_IMAGES || join(process.env.XDG_CACHE_HOME || join(process.env.HOME || homedir(), '.cache'), 'wnod/images')
