/**
 * What batch jobs do, and what is done to them: run natively and in a VWN by real batch systems, and compared. docs/batch-conformance.md is
 * printed from them.
 */
import type { BatchCase } from './case.ts'

type Rest = Omit<BatchCase, 'group' | 'name'>
const inGroup = (group: BatchCase['group'], cases: Readonly<Record<string, Rest>>): BatchCase[] => Object.entries(cases).map(([name, rest]) => ({ group, name, ...rest }))

/** Slurm's options of one case. */
const slurm = (...options: readonly string[]): NonNullable<Rest['options']> => ({ slurm: options })
const lines = (...all: readonly string[]): string => all.join('\n')

/** Prints its arguments, one a line, in brackets. */
const show = 'for word in "$@"; do printf "[%s]\\n" "$word"; done'
/** Goes on for a while, in small steps, and says so at the end. */
const work = 'i=0; while [ $i -lt 30 ]; do sleep 0.1; i=$((i + 1)); done; echo done'
const forEver = 'while :; do sleep 0.1; done'

/** Variables that say where the job runs, or that name this very run. */
const ofTheRun = /^(SLURM_(JOB_?ID|TASK_PID|CONF|LAUNCH_NODE_IPADDR|SRUN_COMM_(HOST|PORT)|STEP_LAUNCHER_PORT|STEPMGR|JOB_(START|END)_TIME|JOB_NAME|STEP_ID|STEPID|SPANK_.*|TOPOLOGY_.*)|SRUN_DEBUG|HOSTNAME|_|OLDPWD|JOB_ID|JOB_SCRIPT|SGE_.*|TMPDIR|TMP|PATH)=/
const tidyEnvironment = (text: string): string => text.split('\n').filter((line) => !ofTheRun.test(line)).sort().join('\n')

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
})

const signals = inGroup('signals', {
  'death by SEGV': { script: 'ulimit -c 0; kill -SEGV $$' },
  'death by ABRT': { script: 'ulimit -c 0; kill -ABRT $$' },
  'death by KILL': { script: 'kill -KILL $$' },
  'death by TERM': { script: 'kill -TERM $$' },
  'death by HUP': { script: 'kill -HUP $$' },
  'death by USR1': { script: 'kill -USR1 $$' },
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
  'a pipe of a step to its end': { command: ['cat'], stdin: 'one\ntwo\n', options: slurm() },
  'a step without stdin': { command: ['cat'], stdin: '', options: slurm() },
})

const limits = inGroup('limits', {
  'soft ones': { script: 'for each in t f d s c n v; do echo $each $(ulimit -S$each); done' },
  'hard ones': { script: 'for each in t f d s c n v; do echo $each $(ulimit -H$each); done' },
  'size of a file': { script: 'ulimit -f 1; trap "" XFSZ; head -c 100000 /dev/zero > /tmp/limit.$$; wc -c < /tmp/limit.$$; rm /tmp/limit.$$' },
  'seconds of the processor': { script: 'ulimit -t 1; while :; do :; done' },
  'open files': { script: 'ulimit -n 16; exec 15</dev/null && echo 15; (exec 16</dev/null) 2>/dev/null || echo no more' },
  'umask': { script: 'umask; umask 077; umask' },
  'priority': { script: 'nice; nice -n 5 nice' },
  'no core file': { script: 'ulimit -c' },
})

const environment = inGroup('environment', {
  'all of it': { script: 'env', tidy: tidyEnvironment },
  'of a step': { command: ['env'], options: slurm(), tidy: tidyEnvironment },
  'a value of the submission': { script: 'printf "%s\\n" "$WEIRD"', options: slurm('--export=ALL,WEIRD=a $HOME "b" `c` *') },
  'a name of the job that is hostile': { script: 'printf "%s\\n" "$SLURM_JOB_NAME"', options: slurm('-J', '$(touch /tmp/hostile); `id` "x" \'y\'') },
  'who': { script: 'id -un; id -u; id -g; id -G; echo $HOME $USER $LOGNAME' },
  'where': { script: 'pwd; pwd -P' },
  'a folder for files of a moment': { script: 'd=${TMPDIR:-/tmp}; echo x > $d/file.$$ && cat $d/file.$$; rm $d/file.$$' },
  'what the job says of itself': { script: 'echo $SLURM_JOB_PARTITION $SLURM_NTASKS $SLURM_CPUS_ON_NODE $SLURM_SUBMIT_DIR $SLURM_CLUSTER_NAME', options: slurm('-n', '1') },
  'libraries and Node of its own': { script: 'echo $LD_LIBRARY_PATH $NODE_OPTIONS', options: slurm('--export=ALL,LD_LIBRARY_PATH=/nonexistent,NODE_OPTIONS=--nonsense') },
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
  'of a step': { command: ['printf', '[%s]\\n'], args: ['a b', '', '$HOME', '*', '--help'], options: slurm() },
  'a command of a step that is not there': { command: ['nosuchcommand'], args: ['x'], options: slurm() },
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
    during: async (job) => {
      await job.says('ready')
      for (const _time of [1, 2]) {
        await job.suspend()
        await job.resume()
      }
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
  'before it runs': { script: 'echo never', options: slurm('--hold'), during: (job) => job.cancel() },
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
    script: lines('[ "${SLURM_RESTART_COUNT:-0}" = 1 ] && echo again && exit 0', 'echo ready', forEver),
    options: slurm('--requeue'),
    during: async (job) => {
      await job.says('ready')
      await job.requeue()
    },
  },
  'by an exit code that is set for it': { script: '[ "${SLURM_RESTART_COUNT:-0}" = 1 ] && echo again && exit 0; exit 75', options: slurm('--requeue') },
})

const arrays = inGroup('arrays', {
  'each task its own code': { script: 'echo $SLURM_ARRAY_TASK_ID; exit $SLURM_ARRAY_TASK_ID', options: slurm('--array=1-3') },
  'what a task knows': { script: 'echo $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MIN $SLURM_ARRAY_TASK_MAX', options: slurm('--array=3,5%1') },
})

const interactive = inGroup('interactive', {
  'code of a step': { command: ['sh', '-c', 'echo out; echo err >&2; exit 7'], options: slurm() },
  'a step that dies by a signal': { command: ['sh', '-c', 'ulimit -c 0; kill -SEGV $$'], options: slurm() },
  'two tasks': { command: ['sh', '-c', 'echo $SLURM_PROCID'], options: slurm('-n', '2'), tidy: (text) => text.split('\n').sort().join('\n') },
  'a terminal': { command: ['sh', '-c', 'test -t 0 && test -t 1 && test -t 2 && echo terminal; exit 6'], options: slurm('--pty') },
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
  'a warning that is asked for': { script: lines("trap 'echo USR1; exit 3' USR1", 'echo ready', forEver), options: slurm('--time=1', '--signal=B:USR1@60') },
  'the end of it': { script: lines("trap 'echo TERM; exit 3' TERM", 'echo ready', forEver), options: slurm('--time=1') },
})

const scripts = inGroup('script forms', {
  'bash': { script: lines('#!/bin/bash', 'words=(a "b c"); echo "${words[1]}" ${#words[@]} ${BASH_SOURCE[0]##*/} ${0##*/}') },
  'options after the interpreter': { script: lines('#!/bin/sh -eu', 'echo one', 'echo $nosuch', 'echo two') },
  'perl': { script: lines('#!/usr/bin/perl', 'print "perl $0\\n" =~ s{/.*/}{}r; exit 4;') },
  'a here-document': { script: lines('cat <<END', 'one $((1 + 1))', 'END') },
  'one that reads itself': { script: lines('wc -c < "$0"', 'tail -n 1 "$0"', '# the last line') },
  'its own name and place': { script: 'echo "$0"; ls -l "$0" | cut -c 1-10; stat -c %U "$0"' },
  'one that removes itself': { script: lines('rm -f "$0" 2>/dev/null; test -e "$0" || echo gone; echo after') },
  'functions and subshells': { script: lines('f() { echo "$1" "$(echo "$2" | tr a-z A-Z)"; return 3; }', '(f x y); echo $?') },
  'no last line end': { script: '#!/bin/sh\necho out' },
  'thousands of lines': { script: lines(...Array.from({ length: 3000 }, (_, index) => `x=${index}`), 'echo $x') },
  'options of the batch system within': { script: lines('#!/bin/sh', '#SBATCH -J within', '#$ -N within', 'echo ${SLURM_JOB_NAME:-$JOB_NAME}') },
  'an interpreter that is not there': { script: lines('#!/nonexistent/interpreter', 'echo never') },
  'no first line': { script: lines('#!', 'echo never') },
})

/** The longest first: they run side by side. */
export const cases: readonly BatchCase[] = [...timeLimits, ...cancellation, ...suspension, ...requeue, ...signals, ...arrays, ...interactive, ...limits, ...streams, ...environment, ...inArguments, ...scripts, ...exits]
