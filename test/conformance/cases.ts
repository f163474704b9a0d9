/** Every case of the hand-over. docs/conformance.md is printed from here. */
import { createHash } from 'node:crypto'
import type { Bytes, Case } from './case.ts'
import { scriptCases } from './script-cases.ts'
import { stagingCases } from './staging-cases.ts'

const sh = (script: string, ...args: readonly Bytes[]): readonly Bytes[] => ['sh', '-c', script, 'sh', ...args]
const lines = (text: string): string => text.split('\n').sort().join('\n')
const sha = (text: string): string => createHash('sha256').update(text).digest('hex')

const exits: readonly Case[] = [
  ...[0, 1, 7, 127, 128, 137, 255].map((code): Case => ({ group: 'exit', name: `exit ${code}`, oneOfMany: true, argv: sh(`exit ${code}`) })),
  { group: 'exit', name: 'a command that is not there', argv: ['no-such-command'], stderr: false },
  { group: 'exit', name: 'a file that cannot be executed', argv: ['/etc/passwd'], stderr: false },
  { group: 'exit', name: 'a child that lives on does not hold up the end', argv: sh('sleep 3 >/dev/null 2>&1 & exit 4') },
]

/** All that kill a process which has made no arrangements, by Linux's numbers. */
const deadly = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31]
const deaths: readonly Case[] = [
  ...deadly.map((signal): Case => ({
    group: 'death', name: `by signal ${signal}`, oneOfMany: true, before: 'ulimit -c 0', argv: sh(`kill -${signal} $$; sleep 5`),
    ...(signal === 3 && { unless: { ssh: 'the shell of the tiny image (busybox) ignores SIGQUIT for itself; a program of its own dies of it, see signals' } }),
  })),
  { group: 'death', name: 'by a real-time signal', call: '(run); echo $?', stderr: false, argv: sh('kill -40 $$; sleep 5') },
]

/** The job says the name of each signal that it gets; the test sends the next when the last was said. */
const caught = ['HUP', 'INT', 'QUIT', 'USR1', 'USR2', 'ALRM', 'TERM', 'VTALRM', 'PROF', 'IO', 'PWR', 'XCPU', 'URG', 'WINCH', 'CONT'] as const
const traps = `for s in ${caught.join(' ')}; do trap "echo got $s" $s; done; echo up; n=0; while [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); [ -e /tmp/never ] && break; done`
/** By a program that changes none, as a shell does. */
const ignoredSignals = ['grep', 'SigIgn', '/proc/self/status']
const signals: readonly Case[] = [
  {
    group: 'signals', name: 'each that can be caught reaches the job under its own name, once', stdin: null, stderr: false,
    argv: sh(`trap 'echo bye; exit 9' ABRT; ${traps}`),
    async talk({ child, says }) {
      await says('up\n')
      for (const name of caught) {
        child.kill(`SIG${name}` as NodeJS.Signals)
        await says(`got ${name}\n`)
      }
      child.kill('SIGABRT')
      await says('bye\n')
    },
  },
  ...(['TERM', 'INT', 'HUP', 'USR1', 'QUIT'] as const).map((name): Case => ({
    group: 'signals', name: `${name} kills a job that makes no arrangements`, oneOfMany: true, stdin: null, before: 'ulimit -c 0', argv: sh('echo up; exec sleep 600'),
    async talk({ child, says }) {
      await says('up\n')
      child.kill(`SIG${name}`)
    },
  })),
  {
    group: 'signals', name: 'TERM that is ignored changes nothing', stdin: null, argv: sh('trap "" TERM; echo up; read line; echo "$line"; exit 5'),
    async talk({ child, says }) {
      await says('up\n')
      child.kill('SIGTERM')
      child.stdin?.end('still here\n')
    },
  },
  { group: 'signals', name: 'nohup: HUP is ignored from the start', wrap: 'nohup', argv: ignoredSignals },
  { group: 'signals', name: 'those that the caller ignores are ignored, and no others', before: "trap '' HUP INT PIPE USR1 TERM TSTP RTMIN+3", argv: ignoredSignals },
  { group: 'signals', name: 'none is ignored where the caller ignores none', argv: ignoredSignals },
  {
    group: 'signals', name: 'HUP that the caller ignores changes nothing', stdin: null, before: "trap '' HUP", argv: sh('echo up; read line; echo "$line"; exit 5'),
    async talk({ child, says }) {
      await says('up\n')
      child.kill('SIGHUP')
      child.stdin?.end('still here\n')
    },
  },
  {
    group: 'signals', name: 'the whole process group gets it', stdin: null, stderr: false,
    argv: sh('sh -c \'trap "echo child; exit" USR1; echo up; while :; do sleep 0.1; done\' & trap "wait; echo parent; exit 6" USR1; while :; do sleep 0.1; done'),
    async talk({ child, says }) {
      await says('up\n')
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGUSR1')
      await says('parent\n')
    },
    tidy: lines,
  },
  {
    group: 'signals', name: 'TSTP stops, CONT continues', stdin: null, argv: sh('trap "echo woken; exit 8" CONT; echo up; while :; do sleep 0.1; done'),
    async talk({ child, says }) {
      await says('up\n')
      child.kill('SIGTSTP')
      child.kill('SIGCONT')
      await says('woken\n')
    },
  },
]

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
const bulk = (bytes: number): Buffer => Buffer.alloc(bytes, everyByte)
const mib = 1024 * 1024
/** Says in its exit code which of 0, 1 and 2 are open, for it may have nowhere to write. */
const openFiles = sh('n=0; for f in 0 1 2; do n=$((n*2)); [ -h /proc/$$/fd/$f ] && n=$((n+1)); done; exit $n')
const streams: readonly Case[] = [
  { group: 'streams', name: 'stdout and stderr apart', argv: sh('echo out; echo err >&2; echo out2; echo err2 >&2') },
  { group: 'streams', name: 'no newline at the end', argv: sh('printf "%s" "no newline"') },
  { group: 'streams', name: 'nothing at all', argv: ['true'] },
  { group: 'streams', name: 'every byte in and out', stdin: everyByte, argv: ['cat'] },
  { group: 'streams', name: '10 MiB out', argv: sh('dd if=/dev/zero bs=65536 count=160 2>/dev/null | tr "\\000" x'), tidy: sha },
  { group: 'streams', name: '10 MiB in', stdin: bulk(10 * mib), argv: ['sha256sum'] },
  { group: 'streams', name: '4 MiB in and out again', stdin: bulk(4 * mib), argv: ['cat'], tidy: sha },
  { group: 'streams', name: 'one pipe for both keeps its order', call: '(run) 2>&1', argv: sh('n=0; while [ $n -lt 500 ]; do echo o$n; echo e$n >&2; n=$((n+1)); done') },
  { group: 'streams', name: 'one file for both keeps its order', before: 'exec 3>&1 >both 2>&1', call: '(run); cat both >&3', argv: sh('n=0; while [ $n -lt 200 ]; do echo o$n; echo e$n >&2; n=$((n+1)); done') },
  { group: 'streams', name: 'a file that others write as well', call: '{ echo before; (run); echo after; } >f; cat f', argv: ['echo', 'job'] },
  { group: 'streams', name: 'a file that is appended to', before: 'echo first >f', call: '(run) >>f; cat f', argv: ['echo', 'job'] },
  { group: 'streams', name: 'stdin from a file', before: 'printf "line 1\\nline 2" >f', call: '(run) <f', argv: ['cat'] },
  { group: 'streams', name: 'stdin from a file that is read from the middle on', before: 'printf "line 1\\nline 2\\n" >f', call: '{ read -r x; (run); } <f', argv: ['cat'] },
  { group: 'streams', name: 'stdin is /dev/null', call: '(run) </dev/null', argv: sh('cat; ls -l /proc/self/fd/0 | sed "s/.* //"') },
  { group: 'streams', name: 'stdout is /dev/null', call: '(run) >/dev/null', argv: sh('echo gone; [ -c /dev/stdout ] && echo still >&2') },
  { group: 'streams', name: 'stderr is /dev/null', call: '(run) 2>/dev/null', argv: sh('echo gone >&2; echo here') },
  ...['<&-', '>&-', '2>&-', '<&- >&-', '<&- >&- 2>&-', '<&- >/dev/null', '>&- 2>/dev/null', '</dev/null 2>&-'].map((files): Case =>
    ({ group: 'streams', name: `closed and open as the caller has them: \`${files}\``, call: `(run) ${files}`, argv: openFiles })),
  { group: 'streams', name: 'stdin for reading and writing, on /dev/null, is not a closed one', call: '(run) <>/dev/null', argv: openFiles },
  { group: 'streams', name: 'stdin that nobody reads', stdin: bulk(4 * mib), argv: ['echo', 'done'] },
  { group: 'streams', name: 'stdin that stays open does not hold up the end', stdin: null, argv: sh('exit 3') },
  { group: 'streams', name: 'a reader that goes away is SIGPIPE', call: '(run) | head -c 10; echo ${PIPESTATUS[0]}', argv: ['yes'] },
  { group: 'streams', name: 'no space where stdout goes', call: '(run) >/dev/full 2>/dev/null; [ $? != 0 ] && echo failed', argv: sh('yes | head -c 1000000') },
  {
    group: 'streams', name: 'a blocked stdout does not block stderr', before: ': >err',
    argv: sh('yes | head -c 4000000 & sleep 0.3; echo free >&2; wait'),
    call: '(run) 2>>err | { n=0; until grep -q free err || [ $n = 600 ]; do sleep 0.1; n=$((n+1)); done; wc -c; cat err; }',
  },
  { group: 'streams', name: 'a slow reader gets every byte', call: '(run) | { sleep 0.5; head -c 100000 | wc -c; sleep 0.5; wc -c; }', argv: sh('dd if=/dev/zero bs=65536 count=48 2>/dev/null') },
]

const self = 'cat /proc/$$/cmdline; :'
const args: readonly Case[] = [
  { group: 'arguments', name: 'any byte', argv: sh(self, everyByte.subarray(1)) },
  { group: 'arguments', name: 'none, empty ones, blanks', argv: sh(self, '', ' ', '', '\t\n', '') },
  { group: 'arguments', name: 'quotes, patterns, expansions', argv: sh(self, `it's`, '"q"', '*', '$HOME', '`id`', '\\n', '!x', '~', '#c', ';', '&', '|', 'a=b') },
  { group: 'arguments', name: 'that look like options of ours', argv: sh(self, '--type', 'x', '--', '--stage', '-n', '--help') },
  { group: 'arguments', name: '5000 of them', argv: sh(self, ...Array.from({ length: 5000 }, (_, n) => `argument-${n}`)), tidy: sha },
  { group: 'arguments', name: 'one of 100 KiB', argv: sh(self, 'x'.repeat(100 * 1024)), tidy: sha },
  { group: 'arguments', name: '1 MiB of them', argv: sh(self, ...Array.from({ length: 16 }, (_, n) => String(n % 10).repeat(64 * 1024))), tidy: sha },
  { group: 'arguments', name: 'a program whose name has a =', before: 'printf "#!/bin/sh\\necho ran\\n" >a=b; chmod 755 a=b', options: ['--stage'], argv: ['sh', '-c', 'exec ./a=b'] },
]

const environ = (stdout: string): string => stdout.split('\0').sort().join('\n')
const own = ['cat', '/proc/self/environ'] as const
const environment: readonly Case[] = [
  { group: 'environment', name: 'as it is', argv: own, env: ['A=1', 'B=two words', 'C='], tidy: environ },
  { group: 'environment', name: 'newlines and quotes in values', argv: own, env: ['A=line 1\nline 2\n', `Q='"\`$x\``, 'E=a=b=c'], tidy: environ },
  { group: 'environment', name: 'names that no shell would take', argv: own, env: ['a.b=1', '1x=2', 'with blank=3', 'dash-ed=4', 'BASH_FUNC_f%%=() { :; }'], tidy: environ },
  { group: 'environment', name: 'bytes that are no text', argv: own, env: [Buffer.concat([Buffer.from('BYTES='), everyByte.subarray(1)])], tidy: environ },
  { group: 'environment', name: 'a value of 100 KiB', argv: own, env: [`BIG=${'v'.repeat(100 * 1024)}`], tidy: (text) => sha(environ(text)) },
  { group: 'environment', name: '1000 variables', argv: own, env: Array.from({ length: 1000 }, (_, n) => `V${n}=${n}`), tidy: (text) => sha(environ(text)) },
]

const surroundings: readonly Case[] = [
  { group: 'surroundings', name: 'user, group and groups', argv: sh('id -u; id -g; id -G; id -un; id -gn') },
  { group: 'surroundings', name: 'the directory, where the guest has it', before: 'cd /tmp', argv: ['pwd'] },
  ...['000', '022', '027', '077'].map((mask): Case => ({ group: 'surroundings', name: `umask ${mask}`, oneOfMany: true, before: `umask ${mask}`, options: ['--stage'], argv: sh('umask; : >f; ls -l f | cut -c1-10') })),
  { group: 'surroundings', name: 'nice 5', wrap: 'nice -n 5', argv: sh('read -r l </proc/$$/stat; set -- ${l##*) }; echo ${17}') },
  { group: 'surroundings', name: 'leads its own process group', argv: sh('read -r l < /proc/$$/stat; set -- ${l##*) }; [ $3 = $$ ] && echo leader') },
  // No pipe and no other program: both would be descriptors of the shell for a moment.
  { group: 'surroundings', name: 'no descriptors beside the three', stderr: false, argv: sh('for f in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$f ] && echo $f; done; :') },
  { group: 'surroundings', name: 'no terminal where none was asked for', argv: sh('test -t 0 || test -t 1 || test -t 2 || echo none') },
]

/** The soft and hard column of a row of /proc/self/limits. */
const row = (name: string): readonly Bytes[] => sh(`grep "^Max ${name} " /proc/self/limits | tr -s " "`)
const noWord = 'the shell of the tiny image (busybox) has no word for this limit'
const limits: readonly Case[] = [
  { group: 'limits', name: 'open files', before: 'ulimit -n 300', argv: row('open files') },
  { group: 'limits', name: 'open files, soft below hard', before: 'ulimit -Sn 200; ulimit -Hn 400', call: '(run); exit $?', argv: row('open files') },
  { group: 'limits', name: 'open files, soft below hard, set for the job alone', before: 'ulimit -Sn 200; ulimit -Hn 400', argv: row('open files') },
  { group: 'limits', name: 'core files', before: 'ulimit -Sc 0; ulimit -Hc 2048', argv: row('core file size') },
  { group: 'limits', name: 'file size', before: 'ulimit -f 4096', argv: row('file size') },
  { group: 'limits', name: 'stack', before: 'ulimit -Ss 4096; ulimit -Hs 16384', argv: row('stack size') },
  { group: 'limits', name: 'processor time', before: 'ulimit -St 1000; ulimit -Ht 2000', argv: row('cpu time') },
  { group: 'limits', name: 'locked memory', before: 'ulimit -l 64', argv: row('locked memory') },
  { group: 'limits', name: 'address space', before: 'ulimit -v 8388608', argv: row('address space') },
  { group: 'limits', name: 'pending signals', before: 'ulimit -i 100', argv: row('pending signals'), unless: { ssh: noWord } },
  { group: 'limits', name: 'message queues', before: 'ulimit -q 1000', argv: row('msgqueue size'), unless: { ssh: noWord } },
  { group: 'limits', name: 'a file that grows too large is SIGXFSZ', before: 'ulimit -c 0; ulimit -f 8', options: ['--stage'], argv: sh('exec dd if=/dev/zero of=large bs=65536 count=4 2>/dev/null') },
]

/** What runs in the terminal; its size is set there, as no two hosts agree on a default. */
const terminal: readonly Case[] = [
  { group: 'terminal', name: 'is one for all three', tty: true, options: ['--tty'], argv: sh('test -t 0 && test -t 1 && test -t 2 && echo yes') },
  { group: 'terminal', name: 'has the size of the caller', tty: true, options: ['--tty'], argv: ['stty', 'size'] },
  { group: 'terminal', name: 'carries the exit code', tty: true, options: ['--tty'], argv: sh('exit 42') },
  { group: 'terminal', name: 'is in cooked mode first, and echoes', tty: true, options: ['--tty'], stdin: null, argv: sh('printf "name? "; read -r x; echo "hello $x"'), async talk({ child, says }) {
    await says('name? ')
    child.stdin?.write('you\n')
    await says('hello you')
  } },
  { group: 'terminal', name: 'the interrupt key is SIGINT', tty: true, options: ['--tty'], stdin: null, argv: sh('stty -echo; trap "echo caught; exit 3" INT; echo up; while :; do sleep 0.1; done'), async talk({ child, says }) { // the kernel sends the signal before it echoes ^C: who is first on the screen is chance
    await says('up')
    child.stdin?.write('\x03')
    await says('caught')
  } },
  { group: 'terminal', name: 'can be put in raw mode', tty: true, options: ['--tty'], stdin: null, argv: sh('stty raw -echo; echo up; c=$(dd bs=1 count=1 2>/dev/null); stty sane; echo "key $c"'), async talk({ child, says }) {
    await says('up')
    child.stdin?.write('k')
    await says('key k')
  } },
]

/** In the order of the docs. */
export const cases: readonly Case[] = [...exits, ...deaths, ...signals, ...streams, ...args, ...environment, ...surroundings, ...limits, ...terminal, ...stagingCases, ...scriptCases]
