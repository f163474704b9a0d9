import type { Contact, ContactDeps } from './contact.ts'

export function sshContact(_deps: ContactDeps): Contact {
  throw new Error('not yet')
}
