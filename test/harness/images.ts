/** The guest images that tests boot: built by `npm run setup`, in the store that WNOD_IMAGES names. */
import { imageStore, type StoredImage } from '../../kit/image-store.ts'
import type { ImageStore } from '../../kit/image-store.ts'

export interface TestImages {
  readonly store: ImageStore
  /** The image with this name, or null where it was not built. */
  named(name: string): Promise<StoredImage | null>
  /** Any image that boots. */
  any(): Promise<StoredImage | null>
}

/** The store of this machine; without one nothing is found. */
export function testImages(): TestImages {
  const store = imageStore(process.env['WNOD_IMAGES'] ?? '/nowhere')
  const named = (name: string): Promise<StoredImage | null> => store.find(name).catch(() => null)
  return { store, named, any: async () => (await named('tiny')) ?? (await named('debian12')) }
}
