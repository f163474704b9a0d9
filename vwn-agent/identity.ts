/**
 * Makes this guest the VWN that the bait says it is. After that nothing of the image or of a template is left that another guest
 * has as well: name, machine id, random state, keys, time.
 */
import { chmodSync, closeSync, constants, existsSync, mkdirSync, open, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { GuestIdentity } from '../wire/guest.ts'
import type { Helper } from './helper.ts'
import { remember } from './own-files.ts'
import type { Settings } from './settings.ts'

/**
 * One visitor, one key, one purpose: streams to the agent's socket, and commands for measurements. Host key, key and user files lie
 * in a folder that only root can enter. To forbid TCP would forbid streams to sockets as well (sshd applies that list to both).
 */
export const sshdConfig = (folder: string, port: number): string => `
Port ${port}
ListenAddress 0.0.0.0
PidFile ${folder}/sshd_config.pid
HostKey ${folder}/host_key
AuthorizedKeysFile ${folder}/authorized_keys
AllowUsers root
PermitRootLogin prohibit-password
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
AllowTcpForwarding local
AllowStreamLocalForwarding yes
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitUserRC no
PermitUserEnvironment no
PrintMotd no
PrintLastLog no
TCPKeepAlive no
ClientAliveInterval 0
Compression no
LoginGraceTime 120
MaxSessions 1024
LogLevel ERROR
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256
Ciphers aes128-gcm@openssh.com,aes128-ctr,chacha20-poly1305@openssh.com
MACs hmac-sha2-256-etm@openssh.com,hmac-sha2-256
HostKeyAlgorithms ssh-ed25519
PubkeyAcceptedAlgorithms ssh-ed25519
`.trimStart()

/** This guest is that VWN, and its ssh server listens. Safe to call again, with the same identity or a new one. */
export async function become(settings: Settings, helper: Helper, identity: GuestIdentity, heardAtMs: number): Promise<void> {
  const folder = join(settings.socket, '../ssh')
  const offsetMs = identity.nowMs - heardAtMs
  const done = settings.kernel === null ? null : helper.become(offsetMs, Buffer.from(identity.entropy, 'base64'))
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const put = (path: string, text: string, mode: number): void => {
    writeFileSync(path, text, { mode })
    chmodSync(path, mode) // the file may have been there
    remember(path, text)
  }
  put(join(folder, 'host_key'), identity.hostKey.endsWith('\n') ? identity.hostKey : `${identity.hostKey}\n`, 0o600)
  put(join(folder, 'authorized_keys'), `${identity.authorizedKey.trim()}\n`, 0o600)
  put(join(settings.etc, 'hostname'), `${identity.hostname}\n`, 0o644)
  put(join(settings.etc, 'machine-id'), `${identity.machineId}\n`, 0o444)
  put(join(settings.etc, 'hosts'), `127.0.0.1 localhost\n127.0.1.1 ${identity.hostname}\n::1 localhost ip6-localhost\n`, 0o644)
  if (settings.kernel !== null) name(join(settings.kernel, 'kernel/hostname'), identity.hostname)
  await done
  if (settings.sshPort !== null) await openSsh(settings.sshd, settings.sshPort, folder, helper)
}

function name(path: string, hostname: string): void {
  writeFileSync(path, hostname)
  remember(path, hostname)
}

let sshHasConfig = false
const sshMs = 20_000

/**
 * Gives the waiting ssh server its config; resolves when it listens. One that has an older config is replaced first. Both files are
 * FIFOs: to open one waits for whoever opens the other end, in a thread and without looking again and again.
 */
async function openSsh(sshd: string, port: number, folder: string, helper: Helper): Promise<void> {
  const config = join(folder, 'sshd_config')
  if (sshHasConfig || !existsSync(config)) await helper.restartSshd(sshd, config)
  sshHasConfig = true
  const fifo = await meet(config, 'w')
  writeSync(fifo, sshdConfig(folder, port))
  closeSync(fifo)
  closeSync(await meet(`${config}.pid`, 'r'))
}

function meet(fifo: string, mode: 'r' | 'w'): Promise<number> {
  return new Promise((resolve, reject) => {
    let late = false
    const timer = setTimeout(() => {
      late = true
      closeSync(openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)) // ends the waiting
    }, sshMs)
    open(fifo, mode, (error, fd) => {
      clearTimeout(timer)
      if (error === null && !late) return resolve(fd)
      if (error === null) closeSync(fd)
      reject(error ?? new Error(`the ssh server did not open ${fifo} for ${sshMs} ms`))
    })
  })
}
