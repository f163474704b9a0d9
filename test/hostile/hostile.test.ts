/**
 * What jobs try to leave for the next job in the same guest, and what a scrub makes of it. One guest for all: each row leaves something,
 * sees that it is there, and then the guest is scrubbed. Either the next job finds nothing, or the scrub names it, which retires the VWN
 * (test/bait/bait.test.ts: "a scrub that leaves something … retires the VWN").
 *
 * That a job of another user never comes into this guest is decided elsewhere: "another user's job is never put into a VWN, whatever the
 * controller says" in test/bait/bait.test.ts, `no VWN serves two users` in test/search/bait.ts, "another user gets another VWN" in
 * test/e2e/cli.test.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import type { GuestSession } from '../../bait/contracts.ts'
import type { FromAgent } from '../../wire/guest.ts'
import { bootGuest, missingImage, type GuestUnderTest } from '../agent/guest.ts'
import { runMessage, taskOver, type Ended, type Wish } from '../agent/harness.ts'

interface Row {
  readonly name: string
  /** What the job does. */
  readonly leave: string
  /** Prints what of it can be found. Runs at the end of the same job, so that it is known to find something, and in the next one. */
  readonly look: string
  /** `clean`: the next job finds nothing. `refused`: nor does the first. Else what the scrub says, one pattern for each. */
  readonly ends: 'clean' | 'refused' | readonly RegExp[]
  readonly wish?: Partial<Wish>
}

/**
 * `daemon CODE` runs perl code in a process that has left its session, group and parent, and stays; `planted` is its name, and that of
 * all that is left behind. `processes` finds it without starting one.
 */
const prelude = String.raw`
cd ~ || exit 9
exec 9<> <(:)
wait_for() { for ((i = 0; i < 400; i++)); do "$@" > /dev/null 2>&1 && return; read -rt 0.02 -u 9; done; echo "never: $*"; }
processes() { local f c found=1; for f in /proc/[0-9]*/comm; do { read -r c < "$f"; } 2> /dev/null && [ "$c" = planted ] && echo "process $f" && found=0; done; return $found; }
daemon() { perl -MSocket -e 'fork and exit; syscall(112); fork and exit; '"$1"'; $0 = "planted"; sleep 9999' < /dev/null > /dev/null 2>&1; wait_for processes; }
key() { perl -e '$id = syscall(250, 10, '"$1"', my $t = "user", my $n = "planted", 0); print "key $id\n" if $id > 0'; }
find_all() { find / \( -path /proc -o -path /sys \) -prune -o -name '*planted*' -print 2> /dev/null; }
full() { [ "$(df --output=avail -k "$1" | tail -1)" -lt 20000 ] && echo "$1 is full"; }
`

const inHome = 'ls -A ~'
const inFds = String.raw`ls -l /proc/[0-9]*/fd 2> /dev/null | grep -E`
const add = (ring: number): string => `perl -e 'syscall(248, my $t = "user", my $n = "planted", my $p = "secret", 6, ${ring})'`
const persistent = `perl -e '$r = syscall(250, 22, -1, -2); $id = syscall(250, 10, $r, my $t = "user", my $n = "planted", 0); print "key $id\\n" if $id > 0'`

const rows: readonly Row[] = [
  // ---- processes
  { name: 'a daemon by double fork', leave: `daemon ''`, look: 'processes' },
  { name: 'a process in a group of its own', leave: `perl -e 'setpgrp; $0 = "planted"; sleep 9999' > /dev/null 2>&1 & wait_for processes`, look: 'processes' },
  { name: 'a process that ignores every signal', leave: `daemon '$SIG{$_} = "IGNORE" for keys %SIG'`, look: 'processes' },
  { name: 'a stopped process', leave: `daemon '$0 = "planted"; kill "STOP", $$'`, look: 'processes' },
  { name: 'a storm of zombies', leave: `daemon 'fork or exit for 1 .. 200'`, look: 'processes' },
  { name: 'a fork bomb', leave: `daemon '$0 = "planted"; for (;;) { fork // select undef, undef, undef, 0.01 }'`, look: 'processes', wish: { limits: [{ name: 'nproc', soft: 80, hard: 80 }] } },
  { name: 'a process in a pid namespace of its own', leave: `unshare -Urpf perl -e '$0 = "planted"; sleep 9999' > /dev/null 2>&1 & wait_for processes`, look: 'processes' },
  { name: 'an ssh agent', leave: 'ssh-agent > /dev/null', look: 'pgrep -x ssh-agent; ls -d /tmp/ssh-*' },
  {
    name: 'an ssh server that looks like ours',
    leave: `ssh-keygen -qt ed25519 -N '' -f key; printf 'Port 2222\\nHostKey %s\\nUsePAM no\\nPidFile none\\n' ~/key > config; (setsid /usr/sbin/sshd -D -f ~/config > /dev/null 2>&1 &); wait_for grep -q ':08AE ' /proc/net/tcp`,
    look: `grep ':08AE .* 0A ' /proc/net/tcp`,
  },
  { name: 'a terminal that is held open', leave: `(setsid script -qc 'perl -e "\\$0 = q(planted); sleep 9999"' /dev/null < /dev/null > /dev/null 2>&1 &); wait_for processes`, look: 'processes; ls /dev/pts | grep -v ptmx' },
  { name: 'timers and watches', leave: `daemon 'syscall(283, 1, 0); syscall(294, 0); syscall(222, 1, 0, my $id = "." x 8)'`, look: `processes; ${inFds} 'timerfd|inotify'` },
  { name: 'a niced process, a low limit, a umask', leave: 'umask 0; renice 19 $$ > /dev/null; ulimit -n 20; echo 1000 > /proc/self/oom_score_adj', look: `[ "$(umask)" = 0022 ] || umask; [ "$(nice)" = 0 ] || nice; [ "$(ulimit -n)" -gt 20 ] || echo few; cat /proc/self/oom_score_adj | grep -vx 0` },
  { name: 'an open file that is deleted', leave: `daemon 'open our $f, ">", "/tmp/planted"; print $f "x" x 1e6; unlink "/tmp/planted"'`, look: `${inFds} 'planted .deleted'` },
  { name: 'a file in memory alone', leave: `daemon 'syscall(319, my $n = "planted", 0)'`, look: `${inFds} memfd:planted` },

  // ---- sockets, shared memory, queues, keys
  { name: 'a listener on a path', leave: `daemon 'socket(our $s, PF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un("/tmp/planted")); listen($s, 1)'`, look: 'grep planted /proc/net/unix; ls /tmp' },
  { name: 'a listener on an abstract name', leave: `daemon 'socket(our $s, PF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un("\\0planted")); listen($s, 1)'`, look: 'grep planted /proc/net/unix' },
  {
    name: 'listeners on tcp and udp ports',
    leave: `daemon 'socket(our $s, PF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in(7777, INADDR_ANY)); listen($s, 1); socket(our $u, PF_INET, SOCK_DGRAM, 0); bind($u, sockaddr_in(7777, INADDR_ANY))'`,
    look: 'grep -h :1E61 /proc/net/tcp /proc/net/udp',
  },
  { name: 'POSIX shared memory and semaphores', leave: 'echo x > /dev/shm/planted; echo x > /dev/shm/sem.planted', look: 'ls -A /dev/shm' },
  { name: 'System V shared memory, semaphores and queues', leave: 'ipcmk -M 4096 > /dev/null; ipcmk -S 2 > /dev/null; ipcmk -Q > /dev/null', look: 'tail -qn +2 /proc/sysvipc/*' },
  { name: 'a POSIX message queue', leave: `perl -e 'syscall(240, my $n = "planted", 0102, 0600, 0) >= 0 or die $!'`, look: 'ls -A /dev/mqueue' },
  { name: "a key in the user's keyring", leave: add(-4), look: 'key -4' },
  { name: "a key in the user's session keyring", leave: add(-5), look: 'key -5' },
  { name: "a key in the user's persistent keyring", leave: `perl -e '$r = syscall(250, 22, -1, -2); syscall(248, my $t = "user", my $n = "planted", my $p = "secret", 6, $r)'`, look: persistent },

  // ---- mounts and memory
  { name: 'a mount in a user namespace', leave: `unshare -Urm perl -e 'syscall(165, my $s = "planted", my $t = "/mnt", my $k = "tmpfs", 0, 0); $0 = "planted"; sleep 9999' > /dev/null 2>&1 & wait_for processes`, look: 'cat /proc/[0-9]*/mountinfo 2> /dev/null | grep planted' },
  { name: 'a host name in a namespace', leave: `unshare -Uru perl -e 'system "hostname planted"; $0 = "planted"; sleep 9999' > /dev/null 2>&1 & wait_for processes`, look: 'processes; hostname | grep planted' },
  { name: 'memory full of files', leave: 'head -c 300M /dev/zero > /dev/shm/planted 2> /dev/null; true', look: 'full /dev/shm' },
  { name: 'no file numbers left', leave: `perl -e '$i++ while open my $f, ">", "/dev/shm/planted$i"'`, look: '[ "$(df --output=iavail /dev/shm | tail -1)" -lt 10 ] && echo none' },
  { name: 'a process that takes all memory', leave: `daemon '$0 = "planted"; our $x = "x" x (1e8 + $$)'`, look: 'processes', wish: { memoryBytes: 300 * 1024 * 1024 } },

  // ---- files
  { name: 'a full scratch disk', leave: 'fallocate -l "$(($(df --output=avail -B1 /tmp | tail -1) - 50000000))" /tmp/planted; head -c 100M /dev/zero >> ~/planted 2> /dev/null; true', look: 'full /tmp; full ~' },
  { name: 'setuid files in every writable place', leave: `find / \\( -path /proc -o -path /sys \\) -prune -o -type d -writable -print 2> /dev/null | while read -r d; do cp /usr/bin/id "$d/planted" && chmod 6755 "$d/planted"; done`, look: 'find_all' },
  { name: 'a file with capabilities', leave: 'cp /usr/bin/id /tmp/planted; unshare -Ur setcap cap_net_raw+ep /tmp/planted', look: 'getcap -r /tmp /var/tmp /home' },
  { name: 'profile files and other dot files', leave: `for f in .profile .bash_profile .bashrc .pam_environment .ssh/rc .ssh/environment .config/environment.d/x.conf .local/lib/x.so; do mkdir -p "$(dirname "$f")"; echo 'export LD_PRELOAD=/tmp/x.so' > "$f"; done`, look: `${inHome}; env | grep LD_PRELOAD` },
  { name: 'authorised keys', leave: 'mkdir .ssh; echo planted > .ssh/authorized_keys; for f in /root/.ssh/authorized_keys /run/wnod/ssh/authorized_keys; do echo planted >> $f; done 2> /dev/null', look: `${inHome}; cat /run/wnod/ssh/* /root/.ssh/* 2> /dev/null` },
  { name: "user's systemd and init hooks", leave: 'mkdir -p .config/systemd/user .config/autostart; echo "[Service]" | tee .config/systemd/user/planted.service > .config/autostart/planted.desktop', look: 'find_all' },
  { name: 'hidden files', leave: `touch .planted ... ..planted ' ' -- -rf /tmp/.planted /var/tmp/...`, look: 'ls -A ~ /tmp /var/tmp | grep -v :$ | grep .' },
  { name: 'names with line feeds, and of bytes that are no UTF-8', leave: `for d in /tmp /var/tmp /dev/shm ~; do mkdir -p "$d"/$'\\xff\\xfe\\n'/$'x\\x80'; touch "$d"/$'a\\nb' "$d"/$'\\xc3' "$d"/$'\\xff\\xfe\\n'/$'x\\x80'/$'\\xf0'; done`, look: 'ls -A ~ /tmp /var/tmp /dev/shm | grep -v :$ | grep .' },
  { name: 'a very deep folder', leave: `for d in /tmp ~; do perl -e 'chdir shift; for (1 .. 1000) { mkdir "d" x 200; chdir "d" x 200 } open F, ">", "planted"' $d; done`, look: 'ls -A /tmp ~ | grep -v :$ | grep .' },
  { name: 'closed folders, FIFOs, links out', leave: 'mkdir -p closed/in; touch closed/in/f; mkfifo fifo; ln -s /etc/passwd link; ln -s /usr dir; chmod 0 closed', look: inHome },
  { name: 'extended attributes and access lists', leave: `perl -e '@p = ($ENV{HOME}, "/tmp"); for (@p) { $v = "x"; syscall(188, $_, my $n = "user.planted", $v, 1, 0); $a = pack "L(SSL)*", 2, 1, 7, -1, 2, 7, 7, 4, 7, -1, 16, 7, -1, 32, 7, -1; syscall(188, $_, $n = "system.posix_acl_default", $a, length $a, 0) }'`, look: `perl -e '@p = ($ENV{HOME}, "/tmp"); @n = ("user.planted", "system.posix_acl_default"); for my $p (@p) { for my $n (@n) { $v = "." x 99; print "$p $n\\n" if syscall(191, $p, $n, $v, 99) >= 0 } }'` },
  { name: 'a home that is open to all', leave: 'chmod 777 ~', look: 'stat -c %a ~ | grep 777' },
  { name: 'a core dump', leave: 'ulimit -c unlimited; (perl -e \'kill "SEGV", $$\'); wait_for ls core*', look: 'find ~ /tmp -name "core*"' },

  // ---- what a user cannot do
  { name: 'cron and at', leave: 'mkdir -p /var/spool/cron/crontabs /var/spool/at; echo "* * * * * planted" | tee /var/spool/cron/crontabs/ada /etc/crontab /etc/cron.d/planted', look: 'cat /var/spool/cron/crontabs/ada /etc/crontab /etc/cron.d/planted', ends: 'refused' },
  { name: 'init hooks', leave: 'echo planted | tee /etc/init.d/planted /etc/rc.local /etc/systemd/system/planted.service /etc/profile.d/planted.sh', look: 'find_all', ends: 'refused' },
  { name: 'ld.so.preload', leave: 'echo /tmp/x.so > /etc/ld.so.preload', look: 'cat /etc/ld.so.preload', ends: 'refused' },
  { name: 'the clock', leave: 'date -s 2001-01-01', look: 'date +%Y | grep 2001', ends: 'refused' },
  { name: 'the host name', leave: 'hostname planted; echo planted > /etc/hostname', look: 'hostname | grep planted; grep planted /etc/hostname', ends: 'refused' },
  { name: 'kernel settings', leave: 'for f in kernel/core_pattern kernel/modprobe vm/overcommit_memory; do echo planted > /proc/sys/$f; done', look: 'grep -rs planted /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe', ends: 'refused' },
  { name: 'kernel modules', leave: `perl -e 'open F, "<", "/usr/bin/id"; print "loaded\\n" if syscall(313, fileno F, my $a = "", 0) == 0 or $!{ENOEXEC}' > loaded`, look: 'cat loaded', ends: 'refused' },
  { name: 'a cgroup of its own', leave: 'mkdir /sys/fs/cgroup/planted "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/planted"; echo $$ > /sys/fs/cgroup/cgroup.procs', look: 'find /sys/fs/cgroup -name planted; grep -x 0::/ /proc/self/cgroup', ends: 'refused' },
  { name: "a hold on the agent, its socket and its files", leave: `for p in $(pgrep 'node|wnod|sshd'); do perl -e 'print "attached $ARGV[0]\\n" if syscall(101, 16, shift, 0, 0) == 0' $p; kill -9 $p; done > held; echo x > /run/wnod/agent.sock; cat /dev/vport* >> held`, look: 'cat held; ls /run/wnod', ends: 'refused' },
  { name: 'flags that hold files fast', leave: `touch planted; perl -e 'open F, "<", "planted"; for (0x10, 0x20) { print "set\\n" if ioctl F, 0x40086602, pack "L", $_ }' > set`, look: 'cat set', ends: 'refused' },
  { name: 'mounts outside a namespace', leave: `perl -e 'syscall(165, my $s = "planted", my $t = "/mnt", my $k = "tmpfs", 0, 0)'`, look: 'grep planted /proc/mounts', ends: 'refused' },

  // ---- what cannot be taken back is named: this guest is dirty from here on
  {
    name: 'files and empty folders where a group may write', leave: 'echo x > /var/local/planted; mkdir /var/mail/planted', look: 'find_all',
    ends: [/^upper: \/var\/local\/planted$/, /^upper: \/var\/mail\/planted\/$/], wish: { groups: [{ gid: 50, name: 'staff' }, { gid: 8, name: 'mail' }] },
  },
  { name: 'a keyring that nobody may touch', leave: `${add(-4)}; perl -e 'syscall(250, 5, -4, 0)'`, look: 'cat /proc/key-users | grep 4242:', ends: [/^keys: of user 4242$/] },
].map((row) => ({ ends: 'clean', ...row }) as Row)

/** By jobs of root, who can do anything: what a scrub does not take back, it must see. No module is tried, since the image has none. */
const rootRows: readonly Row[] = [
  { name: 'a process in no cgroup of a job', leave: `echo $$ > /sys/fs/cgroup/cgroup.procs; daemon ''`, look: 'processes', ends: 'clean' },
  { name: 'a cgroup of its own', leave: 'mkdir -p /sys/fs/cgroup/planted/in; echo $$ > /sys/fs/cgroup/planted/cgroup.procs', look: 'find /sys/fs/cgroup -name planted', ends: 'clean' },
  { name: 'mounts over those that there are', leave: `perl -e 'syscall(165, my $s = "planted", my $t = $_, my $k = "tmpfs", 0, 0) for "/tmp", "/usr/local"'`, look: 'grep planted /proc/mounts', ends: 'clean' },
  { name: 'a folder for temporary files that is no longer sticky', leave: 'chmod 777 /tmp', look: '', ends: [/^files: \/tmp is not as it was$/] },
  { name: 'profile, cron, init and preload', leave: 'echo planted | tee -a /etc/profile /etc/cron.daily/planted /etc/init.d/planted; : > /etc/ld.so.preload', look: '', ends: [/^upper: \/etc\/profile$/, /^upper: \/etc\/cron\.daily\/planted$/, /^upper: \/etc\/init\.d\/planted$/, /^upper: \/etc\/ld\.so\.preload$/] },
  { name: 'a setuid shell', leave: 'cp /bin/bash /usr/local/bin/planted; chmod 4755 /usr/local/bin/planted', look: '', ends: [/^upper: \/usr\/local\/bin\/planted$/] },
  { name: 'an empty folder', leave: 'mkdir /srv/planted', look: '', ends: [/^upper: \/srv\/planted\/$/] },
  { name: 'a removed file', leave: 'rm /etc/issue', look: '', ends: [/^upper: \/etc\/issue$/] },
  { name: 'files and devices in memory', leave: 'echo x > /run/planted; mkdir /run/wnod/planted; mknod /dev/planted c 1 3; chmod 666 /dev/vda', look: '', ends: [/^bare: \/run\/planted$/, /^bare: \/run\/wnod\/planted\/$/, /^bare: \/dev\/planted$/, /^bare: \/dev\/vda$/] },
  { name: "another root, and a key for the agent's ssh server", leave: 'echo toor::0:0::/:/bin/sh >> /etc/passwd; echo planted >> /run/wnod/ssh/authorized_keys', look: '', ends: [/^agent: \/etc\/passwd$/, /^agent: \/run\/wnod\/ssh\/authorized_keys$/] },
  { name: 'a host name', leave: 'hostname planted', look: '', ends: [/^agent: \/proc\/sys\/kernel\/hostname$/] },
  { name: 'another time', leave: 'date -s "1 hour" > /dev/null', look: '', ends: [/^kernel: clock is 3600\.0 s off$/] },
  { name: 'kernel settings', leave: 'echo "|/tmp/planted" > /proc/sys/kernel/core_pattern', look: '', ends: [/^kernel: kernel\.core_pattern$/] },
  { name: 'a file that cannot be removed', leave: `touch /var/tmp/planted; perl -e 'open F, "<", "/var/tmp/planted"; my $f = pack "L", 0x10; ioctl F, 0x40086602, $f or print "never: $!"'`, look: '', ends: [/^files: \/var\/tmp\/planted$/] },
  { name: 'an ssh server that is none of ours', leave: `ssh-keygen -qt ed25519 -N '' -f /tmp/key; echo $$ > /sys/fs/cgroup/cgroup.procs; printf 'Port 2222\\nListenAddress 0.0.0.0\\nHostKey /tmp/key\\nPidFile none\\n' > /tmp/config; /usr/sbin/sshd -f /tmp/config; wait_for grep -q ':08AE ' /proc/net/tcp`, look: '', ends: [/^sockets: tcp port 2222$/] },
]

const missing = await missingImage()

describe.skipIf(missing !== null)(`a guest that hostile jobs have used${missing === null ? '' : ` (${missing})`}`, { timeout: 120_000 }, () => {
  let guest: GuestUnderTest
  let session: GuestSession
  let namedBefore: readonly string[] = []
  const scrubMs: number[] = []
  beforeAll(async () => {
    guest = await bootGuest()
    await guest.hello()
    await guest.identify()
    session = await guest.session()
  }, 120_000)
  afterAll(async () => {
    const sorted = [...scrubMs].sort((a, b) => a - b)
    process.stderr.write(`hostile: ${sorted.length} scrubs, median ${sorted[sorted.length >> 1]?.toFixed(1)} ms, longest ${sorted.at(-1)?.toFixed(1)} ms of the guest\n`)
    session?.close()
    await guest?.[Symbol.asyncDispose]()
  }, 60_000)

  const sh = async (script: string, wish: Partial<Wish> = {}): Promise<Ended> => {
    const whole = { argv: ['bash', '-c', prelude + script], env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/home/ada'], ...wish }
    return taskOver(await session.openAgent(), runMessage(whole), whole).over
  }
  const found = async (script: string, wish: Partial<Wish> = {}): Promise<string> => {
    const ended = await sh(script, wish)
    expect(ended.exited, JSON.stringify(ended.failed)).not.toBeNull()
    return ended.stdout.toString()
  }
  /** What the scrub names and the one before did not. */
  const scrub = async (): Promise<readonly string[]> => {
    const task = taskOver(await session.openAgent(), { kind: 'clean', v: 1 })
    const { left, tookMs } = await task.heard('cleaned') as Extract<FromAgent, { kind: 'cleaned' }>
    const news = left.filter((what) => !namedBefore.includes(what))
    namedBefore = left
    scrubMs.push(tookMs)
    return news
  }
  const check = async (row: Row, root: Partial<Wish> = {}): Promise<void> => {
    const marker = '----looks----'
    const out = await found(`{\n${row.leave}\n} 2> /dev/null\necho ${marker}\n${row.look}`, { ...root, ...row.wish })
    const at = out.indexOf(marker)
    const atOnce = out.slice(at + marker.length).trim()
    expect(out.slice(0, Math.max(at, 0)), 'what the job says').not.toContain('never:')
    expect(at, out).toBeGreaterThanOrEqual(0)
    if (row.look !== '') expect(atOnce !== '', `what the job itself finds: ${out}`).toBe(row.ends !== 'refused')
    const left = await scrub()
    const named = typeof row.ends === 'string' ? [] : row.ends
    expect(left.filter((what) => !named.some((pattern) => pattern.test(what))), 'what the scrub should not name').toEqual([])
    expect(named.filter((pattern) => !left.some((what) => pattern.test(what))), 'what the scrub should name').toEqual([])
    if (named.length === 0) expect((await found(row.look, root)).trim(), 'what the next job finds').toBe('')
  }

  test('the agent does not grow with the jobs that it has run', async () => {
    const memory = async (n: number): Promise<number> => {
      guest.send({ kind: 'ping', n })
      const pong = await until(() => guest.heard.find((message) => message.kind === 'pong' && message.n === n), { withinMs: 30_000, what: 'pong' })
      return pong?.kind === 'pong' ? pong.memoryBytes : 0
    }
    for (let i = 0; i < 5; i++) await scrub().then(() => sh('true'))
    const before = await memory(1)
    for (let i = 0; i < 50; i++) {
      await taskOver(await session.openAgent(), runMessage({ argv: ['true'] })).over
      expect(await scrub()).toEqual([])
    }
    const grownMib = ((await memory(2)) - before) / 1024 / 1024
    process.stderr.write(`hostile: the agent grew by ${grownMib.toFixed(1)} MiB over 50 jobs and scrubs\n`)
    expect(grownMib).toBeLessThan(24)
  })

  test.each(rows.map((row) => [row.name, row] as const))('of a user: %s', async (_, row) => {
    await check(row)
  })

  test.each(rootRows.map((row) => [row.name, row] as const))('of root: %s', async (_, row) => {
    await check(row, { uid: 0, user: 'root' })
  })
})
