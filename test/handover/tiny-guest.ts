/**
 * A guest without agent, without a VM: busybox and dropbear in a folder of their own, under their own process and mount namespace, so
 * that whatever is killed or emptied in it is nobody else's. Needs root; what the tiny image has is what is here.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { GuestAddress } from '../../bait/contracts.ts'
import { dropbearKey, newKeyPair } from '../../bait/vwns/keys.ts'
import { freePort } from '../../kit/socket.ts'
import { folderOfRun } from '../harness/temp.ts'

export interface TinyGuest extends AsyncDisposable {
  readonly address: GuestAddress
  /** Its root directory, seen from here. */
  readonly root: string
}

const programs = ['/usr/sbin/dropbear', '/usr/bin/setpriv'] as const

/** Why there can be none here, or null. */
export function whyNoTinyGuest(): string | null {
  if (process.getuid?.() !== 0) return 'needs root'
  try {
    execFileSync('unshare', ['-p', '-f', '-m', '--mount-proc', '/bin/busybox', 'true'], { stdio: 'ignore' })
    for (const program of programs) execFileSync('ldd', [program], { stdio: 'ignore' })
    return null
  } catch {
    return 'needs unshare, busybox-static, dropbear-bin and util-linux'
  }
}

/** A guest whose ssh server is about to answer. */
export async function tinyGuest(): Promise<TinyGuest> {
  const root = mkdtempSync(folderOfRun('tiny'))
  const hostKey = newKeyPair()
  const clientKey = newKeyPair()
  makeRoot(root)
  writeFileSync(join(root, 'etc/dropbear/host_key'), dropbearKey(hostKey), { mode: 0o600 })
  writeFileSync(join(root, 'root/.ssh/authorized_keys'), `${clientKey.shared}\n`, { mode: 0o600 })
  const port = await freePort()
  const init = `mount -t proc proc ${root}/proc && mount -o bind /dev ${root}/dev && mount -t tmpfs shm ${root}/dev/shm && mount -t devpts -o newinstance,ptmxmode=666 devpts ${root}/dev/pts && mount -o bind ${root}/dev/pts/ptmx ${root}/dev/ptmx && exec chroot ${root} /usr/sbin/dropbear -F -E -s -j -k -W 1048576 -r /etc/dropbear/host_key -p 127.0.0.1:${port}`
  const guest = spawn('unshare', ['-p', '-f', '-m', '--kill-child', '/bin/busybox', 'sh', '-c', init], { stdio: 'ignore', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })
  const gone = once(guest, 'exit')
  return {
    root,
    address: { host: '127.0.0.1', port, hostKey: hostKey.shared, clientKey: clientKey.secret },
    async [Symbol.asyncDispose]() {
      guest.kill('SIGKILL')
      await gone
      rmSync(root, { recursive: true, force: true })
    },
  }
}

function makeRoot(root: string): void {
  for (const folder of ['bin', 'sbin', 'usr/bin', 'usr/sbin', 'dev', 'etc/dropbear', 'home', 'proc', 'root/.ssh', 'run', 'tmp', 'var/tmp', 'var/log', 'lib64']) {
    mkdirSync(join(root, folder), { recursive: true })
  }
  for (const folder of ['tmp', 'var/tmp']) chmodSync(join(root, folder), 0o1777)
  for (const folder of ['', 'root', 'root/.ssh']) chmodSync(join(root, folder), folder === '' ? 0o755 : 0o700)
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'))
  for (const program of programs) {
    copyFileSync(program, join(root, program))
    for (const [library] of execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/\/\S+\.so\S*/g)) {
      mkdirSync(join(root, dirname(library)), { recursive: true })
      copyFileSync(library, join(root, library))
    }
  }
  for (const name of execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n')) {
    if (name !== 'setpriv' && name !== 'busybox') symlinkSync('busybox', join(root, 'bin', name))
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n')
  writeFileSync(join(root, 'etc/shells'), '/bin/sh\n')
}
