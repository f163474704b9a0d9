/** Makes the user of a job known in the guest, under the numbers and names that he has on the farm. */
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isBelow } from '../core/directory.ts'
import type { Identity } from '../wire/common.ts'
import { remember } from './own-files.ts'
import type { Settings } from './settings.ts'

export interface Account {
  readonly user: string
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
  readonly home: string
  readonly shell: string
}

/**
 * The user can log in, so to speak: passwd and group have him, and his home is there and his. They have nobody else whom the image does
 * not have: the next user of a shared VWN does not see who was there before him. Below what is `mounted` no home is made: it is the farm's.
 */
export function makeAccount(settings: Settings, identity: Identity, mounted: readonly string[]): Account {
  const known = lines(settings, 'passwd').map((line) => line.split(':')).find((fields) => Number(fields[2]) === 0)
  const account: Account = {
    user: identity.user,
    uid: identity.uid,
    gid: identity.gid,
    groups: identity.groups.map((group) => group.gid),
    home: identity.uid === 0 ? (known?.[5] ?? '/root') : join(settings.homes, folderName(identity.user)),
    shell: existsSync('/bin/bash') ? '/bin/bash' : '/bin/sh',
  }
  const groups = [{ gid: identity.gid, name: identity.group }, ...identity.groups]
  write(settings, 'group', groupLines(lines(settings, 'group'), groups, identity.user))
  if (identity.uid !== 0) {
    write(settings, 'passwd', passwdLines(lines(settings, 'passwd'), account))
    if (!mounted.some((at) => isBelow(account.home, at))) makeHome(account)
  }
  return account
}

/** The passwd file with this account and no other of its name or number. */
export function passwdLines(before: readonly string[], account: Account): readonly string[] {
  const others = before.filter((line) => {
    const [user, , uid] = line.split(':')
    return user !== account.user && Number(uid) !== account.uid
  })
  const { user, uid, gid, home, shell } = account
  return [...others, [user, 'x', uid, gid, '', home, shell].map((field) => fit(String(field))).join(':')]
}

/** The group file with these groups, each with the user as a member, and no others of their names or numbers. */
export function groupLines(before: readonly string[], groups: readonly { gid: number; name: string }[], user: string): readonly string[] {
  const wanted = new Map(groups.map((group) => [group.gid, group.name === '' ? `group${group.gid}` : group.name]))
  wanted.delete(0)
  const names = new Set(wanted.values())
  const others = before.filter((line) => {
    const [name = '', , gid] = line.split(':')
    return !names.has(name) && !wanted.has(Number(gid))
  })
  return [...others, ...[...wanted].map(([gid, name]) => [name, 'x', gid, user].map((field) => fit(String(field))).join(':'))]
}

function makeHome({ home, uid, gid }: Account): void {
  mkdirSync(home, { recursive: true, mode: 0o755 })
  const found = statSync(home)
  if (found.uid === uid && found.gid === gid) return
  chownSync(home, uid, gid)
  chmodSync(home, 0o700)
}

/** Each file as the image has it, from before the first account. */
const ofImage = new Map<string, readonly string[]>()

function lines(settings: Settings, file: string): readonly string[] {
  const path = join(settings.etc, file)
  const known = ofImage.get(path) ?? (existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter((line) => line !== '') : [])
  ofImage.set(path, known)
  return known
}

/** Whole or not at all: a name service may read at any time. */
function write(settings: Settings, file: string, all: readonly string[]): void {
  const path = join(settings.etc, file)
  const text = `${all.join('\n')}\n`
  writeFileSync(`${path}.new`, text, { mode: 0o644 })
  renameSync(`${path}.new`, path)
  remember(path, text)
}

/** Farms have names that a passwd line cannot hold; such a character becomes a `_`. */
const fit = (field: string): string => field.replace(/[:\n\0]/g, '_')

const folderName = (user: string): string => (/^\.*$/.test(user) ? `_${user}` : user.replace(/[/\0:\n]/g, '_'))
