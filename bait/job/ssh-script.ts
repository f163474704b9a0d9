/**
 * What the bait says to a plain shell in a guest that has no agent. Everything is bytes: latin1 strings carry them one to one.
 *
 * The guest keeps one folder per job, readable by root only: `inner` (becomes the job), `outer` (waits for it), `pid`, `time`, `uid`, and
 * `script`, the path of the job's script.
 * Needed there: a POSIX shell, mkdir, cat, kill, tar, find. Used where they are: setpriv or su, setsid, time, renice.
 */
import { otherPlace, scriptPlace } from '../../core/script-path.ts'
import type { RunTask } from '../../wire/guest.ts'
import type { Limit, Run, Script } from '../../wire/hook.ts'

/** One text as one word of a shell, whatever its bytes. */
export const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

const bytes = (base64: string): string => Buffer.from(base64, 'base64').toString('latin1')
const utf8 = (text: string): string => Buffer.from(text).toString('latin1')

/** The home of a user in a guest; made there when it is missing. */
const homeOf = (task: RunTask): string => (task.identity.uid === 0 ? '/root' : `/home/${utf8(task.identity.user)}`)
export const folderOf = (task: RunTask): string => `/run/wnod/${task.job}`

/** Prints `PID:START` for every process that has a program of its own, which threads of the kernel have not. Only builtins. */
const listProcesses = `for p in /proc/[0-9]*; do [ -e $p/exe ] && read -r l < $p/stat && set -- \${l##*) } && echo \${p#/proc/}:\${20}; done 2>/dev/null`

/**
 * For the shell that stays with the job: makes the user and the folder, then defines what is asked for later: `k SIGNAL` for the
 * job's process group, `e` for the end of everything the job has started. It ends with the connection, and the job with it.
 */
export function controlScript(task: RunTask, nonce: string): Buffer {
  const { identity, run } = task
  const { uid, gid } = identity
  const home = homeOf(task)
  const user = utf8(identity.user)
  const mark = `END-${nonce}` // nobody can guess it and end a script early
  const lines = [
    'umask 077',
    `d=${folderOf(task)}`,
    `fail() { echo "wnod:failed $1"; exit 1; }`,
    'mkdir -p $d && cd $d || fail mkdir',
    `[ -e ../base ] || { ${listProcesses} > ../base; }`,
    `echo ${uid} > uid`,
    `grep -q '^[^:]*:[^:]*:${uid}:' /etc/passwd || echo ${quote(`${user}:x:${uid}:${gid}::${home}:/bin/sh`)} >> /etc/passwd || fail passwd`,
    ...[{ gid, name: identity.group }, ...identity.groups].map(({ gid: number, name }) =>
      `grep -q '^[^:]*:[^:]*:${number}:' /etc/group || echo ${quote(`${utf8(name)}:x:${number}:${user}`)} >> /etc/group || fail group`),
    `[ -d ${quote(home)} ] || { mkdir -p ${quote(home)} && chown ${uid}:${gid} ${quote(home)}; } || fail home`,
    ...(run.script === null ? [] : scriptFolder(task, run.script)),
    ...(run.stage && run.cwd !== null ? stageFolder(task, bytes(run.cwd)) : []),
    `cat > inner <<'${mark}'\n${innerScript(task)}\n${mark}`,
    `cat > outer <<'${mark}'\n${outerScript(task)}\n${mark}`,
    // The job's leader has written its pid before it became the job; a signal that overtakes it waits.
    `w() { n=0; while [ ! -s pid ] && [ $n -lt 200 ]; do sleep 0.05 2>/dev/null || sleep 1; n=$((n+1)); done; read -r p < pid; }`,
    'k() { w; kill -s $1 -- -$p 2>/dev/null; }',
    `e() { [ -s pid ] && { read -r p < pid; kill -s KILL -- -$p; for q in $(s $p); do kill -s KILL $q; done; } 2>/dev/null; }`,
    // Field 6 of /proc/PID/stat is the session; the name before it may hold anything.
    `s() { for f in /proc/[0-9]*; do read -r l < $f/stat && set -- $1 \${l##*) } && [ "$5" = $1 ] && echo \${f#/proc/}; done 2>/dev/null; }`,
    "trap 'exit' HUP TERM",
    "trap 'trap - EXIT; e' EXIT",
    'echo wnod:ready',
  ]
  return Buffer.from(`${lines.join('\n')}\n`, 'latin1')
}

/**
 * The empty file of the script, and `script`, which says where it is: at its own path where nothing is there and all above are root's own
 * folders, else in a folder of ours. As vwn-agent/script.ts does it, but nowhere in homes: this shell cannot tell whose a folder is.
 */
function scriptFolder(task: RunTask, { path }: Script): string[] {
  const { uid, gid } = task.identity
  const asked = scriptPlace(bytes(path))
  const other = otherPlace('/tmp', task.job, bytes(path))
  const isOther = asked === null ? 'false' : `free ${quote(asked.folder)}`
  return [
    // Leaves the topmost missing folder in t. Of `ls`, the first ten letters are the rights and the third word is the owner.
    `free() { t=; a=$1; [ -e "$a" ] || [ -L "$a" ] && return 1
while [ -n "$a" ]; do
  if [ -e "$a" ] || [ -L "$a" ]; then set -- $(ls -ldn "$a"); case $1:$3 in d????-??-?:0|d????w??wt:0) :;; *) return 1;; esac; else t=$a; fi
  a=\${a%/*}
done; }`,
    `if ${isOther}; then f=${quote(asked?.folder ?? '')} n=${quote(asked?.name ?? '')}; else f=${quote(other.folder)} n=${quote(other.name)} t=${quote(other.folder)}; fi`,
    `[ ! -e "$t" ] && echo "$t" >> made && (umask 022; mkdir -p "$f") && : > "$f/$n" && chown ${uid}:${gid} "$f/$n" && chmod 700 "$f/$n" && echo "$f/$n" > script || fail script`,
  ]
}

/** Every folder that had to be made belongs to the user, and goes with the job. */
function stageFolder(task: RunTask, folder: string): string[] {
  const { uid, gid } = task.identity
  return [
    `f=${quote(folder)}; t=; while [ ! -d "$f" ]; do t=$f; f=\${f%/*}; [ -n "$f" ] || f=/; done`,
    `[ -z "$t" ] || { mkdir -p ${quote(folder)} && chmod -R 755 "$t" && chown -R ${uid}:${gid} "$t" && echo "$t" >> made; } || fail cwd`,
  ]
}

/** Becomes the job: everything that a process can set for itself, then exec. */
function innerScript(task: RunTask): string {
  const { run } = task
  const folders = [...(run.cwd === null ? [] : [bytes(run.cwd)]), homeOf(task)]
  const argv = run.argv.map(bytes)
  const env = run.env.map(bytes).filter((entry) => entry.indexOf('=') > 0)
  const placed = (word: string): string => (run.script !== null && word === bytes(run.script.path) ? '"$p"' : quote(word))
  // `env` would take a program's name with a `=` in it for one more variable.
  const command = argv[0]?.includes('=') === true ? ['sh', '-c', 'exec "$0" "$@"', ...argv] : argv
  return [
    'echo $$ > pid',
    ...(run.script === null ? [] : ['read -r p < script']),
    `umask ${run.umask.toString(8).padStart(3, '0')}`,
    `${folders.map((folder) => `cd ${quote(folder)}`).join(' 2>/dev/null || ')} 2>/dev/null || cd /`,
    ...run.limits.flatMap(limitLines),
    `set -- env -i -- ${[...env.map(quote), ...command.map(placed)].join(' ')}`,
    ...(run.nice === 0 ? [] : [`renice -n ${run.nice} -p $$ >/dev/null 2>&1`]),
    ...(run.ignored.length === 0 ? [] : [`trap '' ${run.ignored.join(' ')}`]),
    ...closing(run),
    becoming(task),
  ].join('\n')
}

/** Last of all, as whatever is opened after this gets these numbers. */
function closing({ stdin, stdout, stderr }: Run): string[] {
  const words = [stdin === 'closed' ? '<&-' : '', stdout === 'closed' ? '>&-' : '', stderr === 'closed' ? '2>&-' : ''].filter((word) => word !== '')
  return words.length === 0 ? [] : [`exec ${words.join(' ')}`]
}

/**
 * Turns root into the user and executes the words in "$@". By full path, and no symbolic link: busybox has a setpriv that cannot do
 * it, and its shell takes its own before any in the PATH.
 */
function becoming({ identity: { uid, gid, groups, user } }: RunTask): string {
  if (uid === 0) return 'exec "$@"'
  const set = groups.length === 0 ? '--clear-groups' : `--groups ${groups.map((group) => group.gid).join(',')}`
  return `for s in /usr/bin/setpriv /bin/setpriv; do [ -x $s ] && [ ! -L $s ] && exec $s --reuid ${uid} --regid ${gid} ${set} -- "$@"; done
exec su -s /bin/sh -c 'exec "$0" "$@"' ${quote(utf8(user))} "$@"`
}

/** Waits for the job and measures it, outside its process group, so that no signal for the job hits the measuring. */
function outerScript(task: RunTask): string {
  const { stdin, stdout, stderr, tty } = task.run
  if (tty !== null) return 'exec sh inner' // the session and its terminal are ssh's own making
  const files = [stdin === 'stream' ? '' : '</dev/null', stdout === 'stream' ? '' : '>/dev/null', stderr === 'stream' ? '' : stderr === 'stdout' ? '2>&1' : '2>/dev/null'].join(' ')
  return [
    'command -v setsid >/dev/null && s=setsid',
    `command -v time >/dev/null && exec time -v -o time $s sh inner ${files}`,
    `exec $s sh inner ${files}`,
  ].join('\n')
}

/** Letter and unit of each limit, as the shells of this world know them; the others keep the guest's own value. */
const ulimits: Partial<Record<Limit['name'], readonly [string, number]>> = {
  core: ['c', 512], data: ['d', 1024], fsize: ['f', 512], memlock: ['l', 1024], rss: ['m', 1024], nofile: ['n', 1], nproc: ['p', 1],
  stack: ['s', 1024], cpu: ['t', 1], as: ['v', 1024], locks: ['w', 1],
}

function limitLines({ name, soft, hard }: Limit): string[] {
  const known = ulimits[name]
  if (known === undefined) return []
  const [letter, unit] = known
  const value = (limit: number | null): string => (limit === null ? 'unlimited' : String(Math.floor(limit / unit)))
  const set = (kind: 'H' | 'S', limit: number | null): string => `ulimit -${kind} -${letter} ${value(limit)} 2>/dev/null`
  return [set('H', hard), set('S', soft), set('H', hard)] // up before the soft one, down after it: only one of the two works
}

/** Takes the script's bytes on stdin. */
export const scriptCommand = (task: RunTask): string => `read -r p < ${folderOf(task)}/script && exec cat > "$p"`

/** Takes a tar on stdin into the job's directory, as its user. A stamp afterwards divides old files from new ones. */
export function stageCommand(task: RunTask): string {
  const unpack = `umask 022; cd ${quote(bytes(task.run.cwd ?? ''))} || exit 1
export EXTRACT_UNSAFE_SYMLINKS=1
set -- tar -x -p -f -
${becoming(task)}`
  return `sh -c ${quote(unpack)} && touch -d "@$(($(date +%s) - 1))" ${folderOf(task)}/stamp`
}

/** Gives a tar of what is newer than the stamp, or several in a row where there are many names. */
export function collectCommand(task: RunTask): string {
  const command = `cd ${quote(bytes(task.run.cwd ?? ''))} && find . ! -name . -newer ${folderOf(task)}/stamp '(' -type f -o -type d -o -type l ')' -print0 | xargs -0 -r tar -c --no-recursion -f -`
  return `exec sh -c ${quote(command)}`
}

/** Runs the job, once even if it is asked for twice; its ends are this channel's. */
export const runCommand = (task: RunTask): string => `cd ${folderOf(task)} && mkdir ran && exec sh outer`

/** Asks the control shell what `time` has measured. */
export const timesRequest = Buffer.from('echo wnod:times; cat time 2>/dev/null; echo; echo wnod:end\n')

/** What `time -v` has said; null is what it did not say. */
export interface Times {
  readonly code: number | null
  readonly signal: number | null
  readonly userMs: number | null
  readonly systemMs: number | null
}

/** How the job ended and what it used, from the report of `time -v`, which says nothing of a plain 0. */
export function parseTimes(text: string): Times {
  const number = (pattern: RegExp): number | null => {
    const found = pattern.exec(text)?.[1]
    return found === undefined ? null : Number(found)
  }
  const ms = (seconds: number | null): number | null => (seconds === null ? null : Math.round(seconds * 1000))
  const signal = number(/Command terminated by signal (\d+)/)
  return {
    code: number(/Command exited with non-zero status (\d+)/) ?? (text.includes('User time') && signal === null ? 0 : null),
    signal,
    userMs: ms(number(/User time \(seconds\): ([\d.]+)/)),
    systemMs: ms(number(/System time \(seconds\): ([\d.]+)/)),
  }
}

/** What `cleanScript` looks at, unless nothing has run. */
export const cleanScriptChecks = ['processes', 'homes', 'staged', 'scratch', 'ipc'] as const
export const nothingRan = 'nothing ran'

/**
 * Kills what was not there before the first job, empties every place where a user may write, and says what is left: lines of
 * `wnod:checked NAME` and `wnod:left WHAT`. What root's jobs may have done nobody can tell, so that is left by definition.
 */
export const cleanScript = `
cd /
mine() { q=$1; while [ "$q" -gt 1 ]; do [ "$q" = $$ ] && return 0; read -r l < /proc/$q/stat || return 0; set -- \${l##*) }; q=$2; done 2>/dev/null; return 1; }
above=" "; q=$$; while [ "$q" -gt 0 ]; do above="$above$q "; read -r l < /proc/$q/stat || break; set -- \${l##*) }; q=$2; done
base=" $(tr '\\n' ' ' < /run/wnod/base 2>/dev/null)"
strangers() { ${listProcesses} | while read -r r; do p=\${r%:*}; case $above in *" $p "*) continue;; esac; case $base in *" $r "*) continue;; esac; mine $p || echo $p; done; }
[ -e /run/wnod/base ] || { echo 'wnod:checked ${nothingRan}'; echo wnod:done; exit 0; }
n=0
while [ $n -lt 50 ]; do
  set -- $(strangers)
  [ $# = 0 ] && break
  kill -s KILL "$@" 2>/dev/null
  n=$((n+1)); [ $n -gt 3 ] && { sleep 0.1 2>/dev/null || sleep 1; }
done
for p in $(strangers); do echo "wnod:left process $p $(tr '\\0' ' ' < /proc/$p/cmdline)"; done
echo wnod:checked processes
for u in $(cat /run/wnod/*/uid 2>/dev/null | sort -u); do
  [ $u = 0 ] && echo 'wnod:left root: a job of root may have changed anything'
  h=$(grep "^[^:]*:[^:]*:$u:" /etc/passwd | head -n1 | cut -d: -f6)
  case $h in /home/?*) find "$h" -mindepth 1 -maxdepth 1 -exec rm -rf {} + ; find "$h" -mindepth 1 | sed 's/^/wnod:left /';; esac
done
echo wnod:checked homes
cat /run/wnod/*/made 2>/dev/null | while read -r f; do rm -rf "$f"; [ -e "$f" ] && echo "wnod:left $f"; done
echo wnod:checked staged
for f in /tmp /var/tmp /dev/shm /run/lock; do
  [ -d $f ] || continue
  find $f -mindepth 1 -maxdepth 1 -exec rm -rf {} +
  find $f -mindepth 1 | sed 's/^/wnod:left /'
done
echo wnod:checked scratch
for f in shm sem msg; do [ -r /proc/sysvipc/$f ] && tail -n +2 /proc/sysvipc/$f | sed "s/^/wnod:left $f /"; done
echo wnod:checked ipc
rm -rf /run/wnod/*-[0-9]*
echo wnod:done
`
