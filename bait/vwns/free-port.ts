import { isVwnError } from '../../core/errors.ts'
import { freePort } from '../../kit/socket.ts'

const portTries = 5

/** A free port may be taken by somebody else before the hypervisor gets it: then another one is tried. */
export async function onFreePort<T>(begin: (sshPort: number) => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await begin(await freePort())
    } catch (error) {
      if (!isVwnError(error, 'PORT_IN_USE') || tried === portTries) throw error
    }
  }
}
