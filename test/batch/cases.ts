/**
 * What batch jobs do, and what is done to them: run natively and in a VWN by real batch systems, and compared. docs/batch-conformance.md is
 * printed from them.
 */
import type { BatchCase } from './case.ts'

type Rest = Omit<BatchCase, 'group' | 'name'>
const inGroup = (group: BatchCase['group'], cases: Readonly<Record<string, Rest>>): BatchCase[] => Object.entries(cases).map(([name, rest]) => ({ group, name, ...rest }))

type Options = NonNullable<Rest['options']>
/** Options of one case, for the systems that can do what it is about. */
const slurm = (...options: readonly string[]): Options => ({ slurm: options })
const gridEngine = (...options: readonly string[]): Options => ({ gridengine: options })
/** By a command that runs while its caller waits: `srun`, `qrsh`. */
const waited: Options = { ...slurm(), ...gridEngine() }
const lines = (...all: readonly string[]): string => all.join('\n')

/** Prints its arguments, one a line, in brackets. */
const show = 'for word in "$@"; do printf "[%s]\\n" "$word"; done'
/** Goes on for a while, in small steps, and says so at the end. */
const work = 'i=0; while [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done; echo done'
const forEver = 'exec 2>/dev/null; while :; do sleep 0.1; done' // the shell would say of each sleep what it died of

/** How often a job was run before, and which task of its array it is, by either system's name. */
const before = '${SLURM_RESTART_COUNT:-${RESTARTED:-0}}'
const task = '${SLURM_ARRAY_TASK_ID:-$SGE_TASK_ID}'

/** Variables that say where the job runs, or that name this very run. */
const ofTheRun = /^(SLURM_(JOB_?ID|TASK_PID|CONF|LAUNCH_NODE_IPADDR|SRUN_COMM_(HOST|PORT)|STEP_LAUNCHER_PORT|STEPMGR|JOB_(START|END)_TIME|JOB_NAME|STEP_ID|STEPID|SPANK_.*|TOPOLOGY_.*)|SRUN_DEBUG|HOSTNAME|_|OLDPWD|QRSH_PORT|JOB_ID|JOB_SCRIPT|SGE_(STDOUT_PATH|STDERR_PATH|JOB_SPOOL_DIR)|TMPDIR|TMP|PATH)=/
const sorted = (text: string): string => text.split('\n').sort().join('\n')
/** Without the group by which Grid Engine knows a job's processes. */
const withoutMark = (text: string): string => text.replaceAll(/[ ,]50[78]\d\d\b/g, '')
const tidyEnvironment = (text: string): string => sorted(text.split('\n').filter((line) => !ofTheRun.test(line)).join('\n'))

const othersToo = 'the other processes of the job get it as well'
const noProgram = 'exit code 127, as a shell says it; Slurm itself says 2, the number of the error'

const exits = inGroup('exit', {
  'code 0': { script: 'exit 0' },
  'code 1': { script: 'exit 1' },
  'code 5 of the last command': { script: 'sh -c "exit 5"' },
  'code 42 with output': { script: 'echo out; echo err >&2; exit 42' },
  'code 128': { script: 'exit 128' },
  'code 139 is no death': { script: 'exit 139' },
  'code 255': { script: 'exit 255' },
  'a command that is not there': { script: 'nosuchcommand' },
  'a file that may not be executed': { script: '/etc/passwd' },
  'set -e ends at the first failure': { script: lines('set -e', 'echo one', 'false', 'echo two') },
  'a program that takes the place of the shell': { script: 'exec sh -c "exit 9"' },
  'code 127 of its own': { script: 'exit 127' },
  'code 137 is no death': { script: 'exit 137' },
  'a folder is no command': { script: '/tmp' },
  'the last of a pipe decides': { script: 'exit 3 | exit 4' },
  'code of what it waits for': { script: '(exit 8) & wait $!' },
  'a last word when it ends': { script: lines("trap 'echo bye; exit 6' EXIT", 'echo out', 'exit 5') },
  'what it leaves running does not outlive it': { script: 'sleep 60 >/dev/null 2>&1 & exit 3' },
})

const signals = inGroup('signals', {
  'death by SEGV': { script: 'ulimit -c 0; kill -SEGV $$' },
  'death by ABRT': { script: 'ulimit -c 0; kill -ABRT $$' },
  'death by KILL': { script: 'kill -KILL $$' },
  'death by TERM': { script: 'kill -TERM $$' },
  'death by HUP': { script: 'kill -HUP $$' },
  'death by USR1': { script: 'kill -USR1 $$' },
  'death by INT': { script: 'kill -INT $$' },
  'death by ALRM': { script: 'kill -ALRM $$' },
  'death by XCPU': { script: 'ulimit -c 0; kill -XCPU $$' },
  'what it ignores from the start': { script: "grep -E '^Sig(Ign|Blk)' /proc/self/status" },
  'a pipe whose reader has gone': { script: lines('#!/bin/bash', 'yes | head -n 1', 'echo ${PIPESTATUS[0]}') },
  'one for its whole group': { script: lines("trap 'echo TERM; exit 3' TERM", 'kill -TERM 0', 'echo late') },
  'it stops, and a child wakes it': { script: lines('(until grep -q "^State:.T" /proc/$$/status; do sleep 0.05; done; kill -CONT $$) &', 'kill -STOP $$', 'wait', 'echo on') },
  'death of a child is a code of the shell': { script: "ulimit -c 0; sh -c 'kill -SEGV $$'; echo $?" },
  'a signal that the job handles': {
    script: lines("trap 'echo USR1; exit 3' USR1", 'echo ready', forEver),
    during: async (job) => {
      await job.says('ready')
      await job.signal('USR1')
    },
  },
  'two signals, one after the other': {
    script: lines("trap 'echo USR1' USR1", "trap 'echo USR2; exit 0' USR2", 'echo ready', forEver),
    during: async (job) => {
      await job.says('ready')
      await job.signal('USR1')
      await job.says('USR1')
      await job.signal('USR2')
    },
  },
  'a signal that nobody handles': {
    script: lines('echo ready', 'exec sleep 60'),
    during: async (job) => {
      await job.says('ready')
      await job.signal('USR2')
    },
  },
  'a signal for the script alone': {
    script: lines("trap 'echo USR1' USR1", 'sleep 3 & child=$!', 'echo ready', 'wait $child; wait $child; echo $?'),
    during: async (job) => {
      await job.says('ready')
      await job.signal('USR1')
    },
    differs: { slurm: othersToo, gridengine: othersToo },
  },
  'a signal that is ignored': {
    script: lines("trap '' USR1", "trap 'echo USR2; exit 4' USR2", 'echo ready', forEver),
    during: async (job) => {
      await job.says('ready')
      await job.signal('USR1')
      await job.signal('USR2')
    },
  },
})

const streams = inGroup('streams', {
  'stdout and stderr': { script: 'echo out; echo err >&2' },
  'no output': { script: ':' },
  'a last line without its end': { script: 'printf "no end"' },
  'bytes of every kind': { script: 'i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i + 1)); done' },
  'half a megabyte': { script: 'head -c 524288 /dev/zero | tr "\\0" x' },
  'many small lines': { script: 'i=0; while [ $i -lt 500 ]; do echo $i; i=$((i + 1)); done' },
  'both to one file, in order': { script: 'exec 2>&1; for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done' },
  'stdout closed by the job': { script: 'exec >&-; echo gone; echo $? >&2' },
  'no stdin': { script: 'cat; echo done' },
  'stdin from a file': { script: 'cat', stdin: 'one\ntwo\nno end' },
  'stdin of any bytes': { script: 'cat', stdin: '\0\xff\x80\r\n\x1b' },
  'stdin that is read in part': { script: 'head -n 1', stdin: 'one\ntwo\n' },
  'output of what is left in the background': { script: '(sleep 0.3; echo late) & wait' },
  'stdout and stderr in one file': { script: 'echo a; echo b >&2; echo c', options: gridEngine('-j', 'y') },
  'stderr alone': { script: 'echo err >&2' },
  'stderr opened anew by its name': { script: 'echo one >&2; echo two >>/dev/stderr; echo three >&2' },
  'a long line without its end': { script: 'head -c 100000 /dev/zero | tr "\\0" y' },
  'of several processes': { script: 'for i in 1 2 3; do echo $i & done; wait', tidy: sorted },
  'stdin that is read line by line': { script: 'while read -r line; do echo "[$line]"; done', stdin: 'one\n two \n\\three\n' },
  'a pipe of a step to its end': { command: ['cat'], stdin: 'one\ntwo\n', options: waited },
  'a step without stdin': { command: ['cat'], stdin: '', options: waited },
  'much of a step': { command: ['seq', '20000'], options: waited },
})

const limits = inGroup('limits', {
  'soft ones': { script: 'for each in t f d s c n v; do echo $each $(ulimit -S$each); done' },
  'hard ones': { script: 'for each in t f d s c n v; do echo $each $(ulimit -H$each); done' },
  'size of a file': { script: 'ulimit -f 1; trap "" XFSZ; head -c 100000 /dev/zero > /tmp/limit.$$; wc -c < /tmp/limit.$$; rm /tmp/limit.$$' },
  'seconds of the processor': { script: 'ulimit -t 1; while :; do :; done' },
  'open files': { script: 'ulimit -n 16; exec 15</dev/null && echo 15; (exec 16</dev/null) 2>/dev/null || echo no more' },
  'umask': { script: 'umask; umask 077; umask' },
  'soft up to hard': { script: 'ulimit -S -n $(ulimit -H -n) && ulimit -S -n' },
  'no more than the hard one': { script: 'ulimit -H -n 64; (ulimit -n 65) 2>/dev/null || echo no; ulimit -n' },
  'those that the batch system sets': { script: 'ulimit -Sf; ulimit -Hs; ulimit -St', options: gridEngine('-l', 's_fsize=1M,h_stack=64M,s_cpu=60') },
  'priority': { script: 'nice; nice -n 5 nice' },
  'no core file': { script: 'ulimit -c' },
})

const environment = inGroup('environment', {
  'all of it': { script: 'env', tidy: tidyEnvironment },
  'of a step': { command: ['env'], options: waited, tidy: tidyEnvironment },
  'a value of the submission': { script: 'printf "%s\\n" "$WEIRD"', options: { ...slurm('--export=ALL,WEIRD=a $HOME "b" `c` *'), ...gridEngine('-v', 'WEIRD=a $HOME "b" `c` *') } },
  'an empty value of the submission': { script: 'echo "${EMPTY-unset}"', options: { ...slurm('--export=ALL,EMPTY='), ...gridEngine('-v', 'EMPTY=') } },
  'a name of the job that is hostile': { script: 'printf "%s\\n" "$SLURM_JOB_NAME"', options: slurm('-J', '$(touch /tmp/hostile); `id` "x" \'; touch /tmp/hostile; \' %n%s%%') },
  'who': { script: 'id -un; id -u; id -g; id -G; echo $HOME $USER $LOGNAME', tidy: withoutMark },
  'where': { script: 'pwd; pwd -P' },
  'a folder for files of a moment': { script: 'd=${TMPDIR:-/tmp}; echo x > $d/file.$$ && cat $d/file.$$; rm $d/file.$$' },
  'what the job says of itself': {
    script: 'echo $SLURM_JOB_PARTITION $SLURM_NTASKS $SLURM_CPUS_ON_NODE $SLURM_SUBMIT_DIR $SLURM_CLUSTER_NAME $JOB_NAME $NSLOTS $SGE_TASK_ID $SGE_CWD_PATH $ENVIRONMENT $REQUEST',
    options: { ...slurm('-n', '1'), ...gridEngine() },
  },
  'libraries and Node of its own': {
    script: 'echo $LD_LIBRARY_PATH $NODE_OPTIONS',
    options: { ...slurm('--export=ALL,LD_LIBRARY_PATH=/nonexistent,NODE_OPTIONS=--nonsense'), ...gridEngine('-v', 'LD_LIBRARY_PATH=/nonexistent,NODE_OPTIONS=--nonsense') },
  },
  'no terminal': { script: 'tty; test -t 0 || test -t 1 || test -t 2 || echo none' },
  'time zone and language': { script: 'date +%Z; echo $LANG $LC_ALL; locale 2>/dev/null | sort' },
  'nothing of ours': { script: 'env | grep ^WNOD || echo none' },
})

const inArguments = inGroup('arguments', {
  'none': { script: `echo $#; ${show}` },
  'spaces and quotes': { script: show, args: ['a b', '"c"', "'d'", 'e\\ f', ' '] },
  'an empty one': { script: `echo $#; ${show}`, args: ['', 'a', ''] },
  'what a shell would expand': { script: show, args: ['$HOME', '*', '`id`', '$(id)', '~', '{a,b}', ';', '&', '|', '>x'] },
  'more than one line': { script: show, args: ['a\nb', '\n'] },
  'what looks like options': { script: show, args: ['--help', '-x', '--', '--vm=other'] },
  'letters of other languages': { script: show, args: ['äöü', '日本', '€'] },
  'two hundred': { script: 'echo $#; echo "${200}"', args: Array.from({ length: 200 }, (_, index) => `word${index}`) },
  'a long one': { script: 'echo ${#1}', args: ['x'.repeat(50_000)] },
  'of a step': { command: ['printf', '[%s]\\n'], args: ['a b', '', '$HOME', '--help'], options: waited },
  'a command of a step that is not there': { command: ['nosuchcommand'], args: ['x'], options: waited, differs: { slurm: noProgram } },
})

const suspension = inGroup('suspension', {
  'suspended and resumed': {
    script: lines('echo ready', work),
    during: async (job) => {
      await job.says('ready')
      await job.suspend()
      await job.resume()
    },
  },
  'twice': {
    script: lines('echo ready', work, work),
    options: gridEngine(), // Slurm takes seconds to stop what it calls suspended, and may stop natively what was resumed meanwhile
    during: async (job) => {
      await job.says('ready')
      for (const _time of [1, 2]) {
        await job.suspend()
        await job.resume()
      }
    },
  },
  'with children of its own': {
    script: lines(`(${work}) &`, `(${work}) &`, 'echo ready', 'wait', 'exit 4'),
    during: async (job) => {
      await job.says('ready')
      await job.suspend()
      await job.resume()
    },
  },
  'cancelled while suspended': {
    script: lines("trap 'echo TERM' TERM", 'echo ready', forEver),
    during: async (job) => {
      await job.says('ready')
      await job.suspend()
      await job.cancel()
    },
  },
})

const cancellation = inGroup('cancellation', {
  'while it runs': {
    script: lines('echo ready', 'exec sleep 60'),
    during: async (job) => {
      await job.says('ready')
      await job.cancel()
    },
  },
  'with a handler that ends it': {
    script: lines("trap 'echo TERM; exit 3' TERM", 'echo ready', forEver),
    during: async (job) => {
      await job.says('ready')
      await job.cancel()
    },
  },
  'of one that ignores it': {
    script: lines("trap '' TERM", 'echo ready', forEver),
    during: async (job) => {
      await job.says('ready')
      await job.cancel()
    },
  },
  'with children of its own': {
    script: lines('sleep 61 & sleep 62 &', 'echo ready', 'wait'),
    during: async (job) => {
      await job.says('ready')
      await job.cancel()
    },
  },
  'before it runs': { script: 'echo never', options: { ...slurm('--hold'), ...gridEngine('-h') }, during: (job) => job.cancel() },
  'in its last word': {
    script: lines("trap 'echo ending; exec sleep 60' EXIT", 'exit 5'),
    during: async (job) => {
      await job.says('ending')
      await job.cancel()
    },
  },
  'of a pipe': {
    script: lines('echo ready', 'yes | cat >/dev/null'),
    during: async (job) => {
      await job.says('ready')
      await job.cancel()
    },
  },
  'of one that has closed its output': {
    script: lines('echo ready', 'exec >&- 2>&-', 'exec sleep 60'),
    during: async (job) => {
      await job.says('ready')
      await job.cancel()
    },
  },
  'with a warning that is asked for': {
    script: lines("exec 2>/dev/null; trap 'trap \"\" USR2; echo told' USR2", 'echo ready', forEver),
    options: gridEngine('-notify'),
    during: async (job) => {
      await job.says('ready')
      await job.cancel()
    },
  },
  'by KILL at once': {
    script: lines('echo ready', 'exec sleep 60'),
    during: async (job) => {
      await job.says('ready')
      await job.signal('KILL')
    },
  },
})

const requeue = inGroup('requeue', {
  'by the administrator': {
    script: lines(`[ "${before}" = 1 ] && echo again && exit 0`, 'echo ready', forEver),
    options: { ...slurm('--requeue'), ...gridEngine('-r', 'y') },
    during: async (job) => {
      await job.says('ready')
      await job.requeue()
    },
  },
  'by an exit code that is set for it': {
    script: lines(`[ "${before}" = 1 ] && echo again && exit 0`, '[ -n "$SLURM_JOB_ID" ] && exit 75', 'exit 99'),
    options: { ...slurm('--requeue'), ...gridEngine() },
  },
  'cancelled in its second run': {
    script: lines(`echo run ${before}`, forEver),
    options: { ...slurm('--requeue'), ...gridEngine('-r', 'y') },
    during: async (job) => {
      await job.says('run 0')
      await job.requeue()
      await job.says('run 1')
      await job.cancel()
    },
  },
})

const arrays = inGroup('arrays', {
  'each task its own code': { script: `echo ${task}; exit ${task}`, options: { ...slurm('--array=1-3'), ...gridEngine('-t', '1-3') } },
  'what a task knows': {
    script: 'echo $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MIN $SLURM_ARRAY_TASK_MAX $SGE_TASK_ID $SGE_TASK_FIRST $SGE_TASK_LAST $SGE_TASK_STEPSIZE',
    options: { ...slurm('--array=3,5%1'), ...gridEngine('-t', '3-5:2', '-tc', '1') },
  },
  'in steps': { script: `echo ${task}`, options: { ...slurm('--array=1-7:3'), ...gridEngine('-t', '1-7:3') } },
  'cancelled as a whole': {
    script: lines(`echo ready ${task}`, 'exec sleep 60'),
    options: { ...slurm('--array=1-2'), ...gridEngine('-t', '1-2') },
    during: async (job) => {
      await job.says('ready 1')
      await job.says('ready 2')
      await job.cancel()
    },
  },
})

const interactive = inGroup('interactive', {
  'code of a step': { command: ['sh', '-c', 'echo out; echo err >&2; exit 7'], options: waited },
  // qrsh hands the words to a shell, which reads them anew: it is that one that dies, and a core of it would be left.
  'a step that dies by a signal': { command: ['sh', '-c', 'true; kill -ALRM $$'], options: waited },
  'the words of a step': { command: ['echo', 'a  b', '"c  d"', '$0', ';', 'exit', '7'], options: waited },
  'who and where a step is': { command: ['sh', '-c', 'id -un && pwd && umask'], options: waited, tidy: withoutMark },
  'words that no shell reads': { command: ['/usr/bin/printf', '<%s>', 'a b', '$HOME'], options: gridEngine('-noshell') },
  'two tasks': { command: ['sh', '-c', 'echo $SLURM_PROCID'], options: slurm('-n', '2'), tidy: sorted },
  'a terminal': { command: ['sh', '-c', 'test -t 0 && test -t 1 && test -t 2 && echo terminal; exit 6'], options: slurm('--pty'), tidy: (text) => /^terminal\r$/m.exec(text.replaceAll(/\^[D@]|[\0\b\x04]/g, ''))?.[0] ?? text },
  'a step that is ended by its owner': {
    command: ['sh', '-c', 'echo ready; exec sleep 60'],
    options: slurm(),
    during: async (job) => {
      await job.says('ready')
      await job.signal('TERM')
    },
  },
})

const timeLimits = inGroup('time limits', {
  'a warning that is asked for': {
    script: lines("trap 'echo USR1; exit 3' USR1", 'echo ready', forEver),
    options: slurm('--time=60', '--signal=B:USR1@120'),
    during: async (job) => {
      await job.says('ready')
      await job.endsIn(100)
    },
  },
  'the end of it': {
    script: lines("trap 'echo TERM; exit 3' TERM", 'echo ready', forEver),
    options: slurm('--time=60'),
    during: async (job) => {
      await job.says('ready')
      await job.endsIn(2) // Slurm takes no end that is past when it hears of it
    },
  },
  // What their script says would depend on how soon it starts.
  'the hard one': { script: 'exec sleep 60', options: gridEngine('-l', 'h_rt=8') },
  'the soft one, which nobody handles': { script: 'exec sleep 60', options: gridEngine('-l', 's_rt=8') },
})

/** Grid Engine calls a script by the number of its job. */
const withoutNumber = (text: string): string => text.replaceAll(/ \d+(?= |$)/gm, ' N')

const scripts = inGroup('script forms', {
  'bash': { script: lines('#!/bin/bash', 'words=(a "b c"); echo "${words[1]}" ${#words[@]} ${BASH_SOURCE[0]##*/} ${0##*/}'), tidy: withoutNumber },
  'options after the interpreter': { script: lines('#!/bin/sh -eu', 'echo one', 'echo $nosuch', 'echo two') },
  'perl': { script: lines('#!/usr/bin/perl', 'print "perl $0\\n" =~ s{/.*/}{}r; exit 4;'), tidy: withoutNumber },
  'a here-document': { script: lines('cat <<END', 'one $((1 + 1))', 'END') },
  'one that reads itself': { script: lines('wc -c < "$0"', 'tail -n 1 "$0"', '# the last line') },
  'its own name and place': { script: 'echo "$0"; ls -l "$0" | cut -c 1-10; stat -c %U "$0"', differs: { gridengine: 'it is its user\'s own, and closed to others; natively it is root\'s, for all to read' } },
  'one that removes itself': { script: lines('rm -f "$0" 2>/dev/null; test -e "$0" || echo gone; echo after') },
  'found by env': { script: lines('#!/usr/bin/env bash', 'echo ${BASH_VERSION%%.*}') },
  'awk': { script: lines('#!/usr/bin/awk -f', 'BEGIN { print "awk", 6 * 7; exit 2 }') },
  'traced': { script: lines('#!/bin/sh -x', 'echo one', 'false || echo two') },
  'nothing but its first line': { script: '#!/bin/sh\n' },
  'letters of other languages': { script: 'echo "äöü 日本 €"' },
  'a file of lines within': { script: lines("sed '1,/^exit$/d' \"$0\"", 'exit', 'one', 'two') },
  'functions and subshells': { script: lines('f() { echo "$1" "$(echo "$2" | tr a-z A-Z)"; return 3; }', '(f x y); echo $?') },
  'no last line end': { script: '#!/bin/sh\necho out' },
  'thousands of lines': { script: lines(...Array.from({ length: 3000 }, (_, index) => `x=${index}`), 'echo $x') },
  'options of the batch system within': { script: lines('#!/bin/sh', '#SBATCH -J within', '#$ -N within', 'echo ${SLURM_JOB_NAME:-$JOB_NAME}') },
  'an interpreter that is not there': { script: lines('#!/nonexistent/interpreter', 'echo never'), differs: { slurm: noProgram, gridengine: 'exit code 127; natively the job has failed (27), and nobody says why' } },
  'no first line': { script: lines('#!', 'echo never'), differs: { slurm: '/bin/sh runs it; on the bare node Slurm fails with 8' } },
})

/** The longest first: they run side by side. */
export const cases: readonly BatchCase[] = [...cancellation, ...timeLimits, ...suspension, ...requeue, ...signals, ...arrays, ...interactive, ...limits, ...streams, ...environment, ...inArguments, ...scripts, ...exits]
