import { isVwnError, VwnError } from '../../core/errors.ts'
import type { Vm } from '../hypervisor/hypervisor.ts'

/** Turns the VM's end, while its guest is waited for, into a failure that ends all waiting. */
export function diedBefore({ exit }: Pick<Vm, 'exit'>, signal: AbortSignal) {
  const died = new AbortController()
  let watching = true
  void exit.then(({ code, signal: by, said }) => {
    if (watching) died.abort(new VwnError('VWN_DIED', { code, signal: by, said: said === '' ? undefined : said }))
  })
  return {
    signal: AbortSignal.any([signal, died.signal]),
    async first<T>(work: Promise<T>): Promise<T> {
      try {
        return await work
      } catch (error) {
        // One that could not be given its state was ended for that.
        const refused = isVwnError(error) && error.code.startsWith('TEMPLATE_')
        throw died.signal.aborted && !refused ? died.signal.reason : error
      }
    },
    cancel: () => void (watching = false),
  }
}
