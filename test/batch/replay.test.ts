/**
 * LSF, OpenPBS, Torque and HTCondor, none of which can be installed here: every case runs natively and through our starter, called as that system calls,
 * with a real bait door and the real agent in namespaces of this host; and by a starter that becomes the job, on the host itself. What is compared is
 * what the system and the job's owner see.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { missingPower } from '../agent/harness.ts'
import { nearPlaces, type Places } from '../conformance/near.ts'
import { buildStarter, starterFolder } from '../handover/desk.ts'
import { htcondor, lsf, pbs, replay, replayAtTerminal, torque, type Bait, type Player, type ReplayCase, type TerminalCase, type Typist } from './replay.ts'

let places: Places
let bait: Bait

beforeAll(async () => {
  if (missingPower !== null) return
  buildStarter()
  for (const system of ['pbs', 'torque', 'htcondor']) symlinkSync('wnod-starter', join(starterFolder, `wnod-${system}`))
  execFileSync('gcc', ['-O1', '-o', join(starterFolder, 'wnod-wrapper'), join(import.meta.dirname, '../../hooks/htcondor/wrapper.c')])
  places = await nearPlaces({ scriptRoots: ['/var/tmp'] })
  bait = { starter: starterFolder, socket: places.socket, type: places.typeOf.agent }
}, 120_000)
afterAll(async () => {
  if (missingPower !== null) return
  await places[Symbol.asyncDispose]()
  rmSync(starterFolder, { recursive: true, force: true })
}, 60_000)

const sorted = (text: string): string => text.split('\n').sort().join('\n')
const loop = 'n=0; while [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done'

/** What its owner calls a job, and says for whom it is. */
const hostile = `$(touch /tmp/wnod-hostile) \`touch /tmp/wnod-hostile\` "; touch /tmp/wnod-hostile; '; touch /tmp/wnod-hostile; %s%USRCMD`
const hostileNames = ['LSB_JOBNAME', 'LSB_PROJECT_NAME', 'LSB_SUB_HOST', 'PBS_JOBNAME', 'PBS_ACCOUNT', 'PBS_O_HOST', '_CONDOR_SLOT', 'HOSTILE']

/** What every system does alike. */
const common: readonly ReplayCase[] = [
  ...[0, 5, 127, 255].map((code): ReplayCase => ({ name: `exit ${code}`, script: `exit ${code}` })),
  ...['TERM', 'KILL', 'USR1', 'HUP'].map((signal): ReplayCase => ({ name: `a program that dies by ${signal}`, script: `ulimit -c 0\nsh -c 'kill -${signal} $$'` })),
  { name: 'the main process dies by KILL', script: 'kill -KILL $$' },
  { name: 'the main process dies by SEGV', script: 'ulimit -c 0\nkill -SEGV $$' },
  { name: 'stdout and stderr apart', script: 'echo out; echo err >&2; printf "no newline"' },
  { name: 'quotes, expansions, lists', script: `A='single "double"'; echo "$A" "two  blanks" \\$HOME $((1+2)) 'it'"'"'s' \`echo sub\`; false || echo or; true && echo and; (echo group)` },
  { name: 'a here-document and lines that look like those of the batch system', script: 'cat <<EOT\nExitStat=$?\n# LSBATCH: User input\n$((40+2))\nEOT\necho end' },
  { name: 'pipes and redirections', script: 'echo a b | tr " " "\\n" | sort -r >/dev/stdout; echo x 2>&1 1>&2' },
  { name: 'every byte', script: 'for n in 000 001 177 200 377; do printf "\\\\$n"; done; printf "\\000\\377"' },
  { name: 'a megabyte', script: 'yes 0123456789 | head -c 1000000', tidy: (text) => String(text.length) },
  { name: 'the environment', script: 'echo "[$BLANKS][$LINES2]$((${#BYTES}))"; env | grep -c "^WNOD_"', env: { BLANKS: ' a  b ', LINES2: 'x\ny', BYTES: 'äö' } },
  { name: 'names and values that a shell would obey', script: `printf '%s\\n' ${hostileNames.map((name) => `"$${name}"`).join(' ')}; ls /tmp | grep -c wnod-hostile`, env: Object.fromEntries(hostileNames.map((name) => [name, `${hostile}\ntouch /tmp/wnod-hostile`])) },
  { name: 'who it is, and its umask', script: 'id -un; id -gn; umask' },
  { name: 'signals that are ignored', script: "exec 3</proc/self/status; grep SigIgn <&3 | cut -f2 | grep -o '[0-9a-f]$'" },
  { name: 'what it leaves running does not outlive it', script: 'sleep 600 >/dev/null 2>&1 & exit 3' },
  {
    name: 'cancelled, it makes an end of its own', script: `trap 'echo bye; exit 3' TERM INT\nsleep 600 & echo up\nwait`,
    during: async (job) => {
      await job.says('up')
      await job.cancel()
    },
    tidy: (text) => text.replaceAll('bye\nbye\n', 'bye\n'),
  },
  {
    name: 'cancelled, without arrangements', script: 'echo up; exec sleep 600',
    during: async (job) => {
      await job.says('up')
      await job.cancel()
    },
  },
  {
    name: 'cancelled, deaf to all but KILL', script: `trap '' TERM INT\necho up\n${loop}`,
    during: async (job) => {
      await job.says('up')
      await job.cancel()
    },
  },
  {
    name: 'USR1 reaches it once', script: `trap 'echo got' USR1\ntrap 'exit 4' USR2\necho up\n${loop}`,
    during: async (job) => {
      await job.says('up')
      job.signal('SIGUSR1')
      await job.says('got')
      job.signal('SIGUSR2')
    },
  },
  {
    name: 'suspended and resumed, it goes on', script: 'echo up; read line <$GATE; echo "$line"; exit 6', env: { GATE: '/dev/null' },
    during: async (job) => {
      await job.says('up')
      job.suspend()
      job.resume()
    },
  },
]

/** LSF waits for what the text leaves running, and ignores HUP for itself: there these are other cases. */
const otherInLsf = ['what it leaves running does not outlive it', 'signals that are ignored', 'a program that dies by HUP']
/** The login shell that PBS puts around a script has no arrangements and dies of it; whether the script then still gets to say something is a race of its own. */
const otherInPbs = ['USR1 reaches it once', 'cancelled, it makes an end of its own']
const left: Readonly<Record<Player['name'], readonly string[]>> = { lsf: otherInLsf, pbs: otherInPbs, torque: otherInPbs, htcondor: [] }
const of = (player: Player): readonly ReplayCase[] => [...common.filter(({ name }) => !left[player.name].includes(name)), ...own[player.name]]

/** Of functions that bash exports, and of modules: LSF's own shell takes them away. */
const oddNames: ReplayCase = { name: 'variables whose names are none for a shell', script: "cat /proc/$$/environ | tr '\\0' '\\n' | grep -c -e '^a[.]b=c d$' -e '^BASH_FUNC_x%%=() { :; }$'", env: { 'a.b': 'c d', 'BASH_FUNC_x%%': '() { :; }' } }

const own: Readonly<Record<Player['name'], readonly ReplayCase[]>> = {
  lsf: [
    { name: 'stdin from a file (-i)', script: 'cat; echo end', stdin: 'one\ntwo' },
    { name: 'what the text leaves running is waited for', script: 'sleep 0.3 && echo late & echo first', tidy: sorted },
    { name: '$0 is the job file', script: 'echo "$0"' },
    { name: 'a script on the stdin of bsub', script: '#!/bin/bash\n#BSUB -n 1\na=(1 2); echo "${#a[@]} $0" "$@"; exit 9', call: { form: 'stdin' } },
    { name: 'such a script of another language', script: '#!/usr/bin/perl\nprint "perl\\n"; exit 7', call: { form: 'stdin' } },
    { name: 'such a script without #!', script: 'echo plain; exit 8', call: { form: 'stdin' } },
    { name: 'such a script reads itself', script: '#!/bin/sh\nwc -l <"$0"', call: { form: 'stdin' } },
    { name: 'the quoted form of the manual, without quotes in the text', script: '', words: ['echo', 'a;', 'echo', 'b;', 'exit', '3'] },
    { name: 'bsub -I: one socket for all three', script: 'cat; echo err >&2; echo out; exit 3', stdin: 'typed\n', call: { LSB_INTERACTIVE: 'Y' } },
    { name: 'bsub -I: a large answer', script: 'yes 0123456789 | head -c 3000000', stdin: '', call: { LSB_INTERACTIVE: 'Y' }, tidy: (text) => String(text.length) },
    { name: 'of an array', script: 'echo $LSB_JOBINDEX', call: { LSB_JOBINDEX: '3' } },
    {
      name: 'USR2 at the run limit, with arrangements', script: `trap 'echo limit' USR2\ntrap 'exit 5' USR1\necho up\n${loop}`,
      during: async (job) => {
        await job.says('up')
        job.signal('SIGUSR2')
        await job.says('limit')
        job.signal('SIGUSR1')
      },
    },
    {
      name: 'USR2 at the run limit, without', script: 'echo up; sleep 600; exit $?',
      during: async (job) => {
        await job.says('up')
        job.signal('SIGUSR2')
      },
    },
    {
      name: 'a program that hears TERM is waited for by its shell', script: `sh -c 'trap "echo cleaned; exit 2" TERM; echo up; ${loop}'; echo "ended $?"`,
      during: async (job) => {
        await job.says('up')
        job.signal('SIGTERM')
      },
    },
  ],
  pbs: pbsCases(),
  torque: pbsCases(),
  htcondor: [
    { name: 'stdin from a file (input =)', script: 'cat; echo end', stdin: 'one\ntwo' },
    { name: 'arguments', script: '', words: ['printf', '[%s]', 'a b', '', '"q"', '$HOME', "it's", '--type', '*'] },
    { name: 'files that it makes and changes are there for HTCondor', script: 'pwd; ls; echo new >made; mkdir d; rmdir d; echo "$TMPDIR"', files: true },
    { name: 'its ads lie beside it', script: 'grep -c "^ClusterId" "$_CONDOR_JOB_AD"; cat "$_CONDOR_MACHINE_AD"' },
    { name: 'the wrapper’s own variable is not there', script: 'env | grep -c WRAPPER' },
    oddNames,
    { name: 'a program by its full path', script: 'echo "$0" | sed "s/.*dir_12/DIR/"' },
  ],
}

function pbsCases(): readonly ReplayCase[] {
  return [
    oddNames,
    { name: 'the script’s own name, and its bytes', script: '#!/bin/bash\necho "${0##*/}"; wc -c <"$0"' },
    { name: 'a script of another language', script: '#!/usr/bin/perl\nprint "perl\\n"; exit 7' },
    { name: 'its shell is a login shell', script: 'echo "${#PATH}" >/dev/null; tr "\\0" "\\n" </proc/$PPID/cmdline | head -n 1 | grep -c "sh"' },
    { name: 'stdin of the script is at its end', script: 'cat; echo end' },
    { name: 'qsub -- COMMAND', script: '', words: ['printf', '[%s]', 'a b', '', '"q"', '$HOME', '*'] },
    {
      name: 'USR1 reaches a command once', script: '', words: ['bash', '-c', `trap 'echo got' USR1; trap 'exit 4' USR2; echo up; ${loop}`],
      during: async (job) => {
        await job.says('up')
        job.signal('SIGUSR1')
        await job.says('got')
        job.signal('SIGUSR2')
      },
    },
    {
      name: 'cancelled, a command makes an end of its own', script: '', words: ['bash', '-c', `trap 'echo bye; exit 3' TERM INT; sleep 600 & echo up; wait`],
      during: async (job) => {
        await job.says('up')
        await job.cancel()
      },
    },
    { name: 'sandbox=private', script: 'echo done', call: { sandbox: 'private' } },
  ]
}

const prompt = '\r\nready> '
/** Without what a shell shows before it has this prompt: another, of its host. */
const fromPrompt = (shown: string): string => shown.slice(shown.indexOf(prompt))

/** A line for the shell at the terminal, once it has the prompt. */
async function say({ type, shows }: Typist, line: string, ...answers: readonly string[]): Promise<void> {
  type(`${line}\n`)
  for (const answer of answers) await shows(answer)
}

const atTerminal = (name: string, talk: TerminalCase['talk']): TerminalCase => ({
  name, tidy: fromPrompt,
  async talk(typist) {
    await typist.shows('$ ')
    await say(typist, "PS1='ready> '", prompt)
    await talk(typist)
  },
})

/** `bsub -Is bash`, `qsub -I`: a shell at a terminal, and somebody who types. */
const terminalCases: readonly TerminalCase[] = [
  atTerminal('is one for all three, has its size, keys and exit code', async (typist) => {
    await say(typist, 'test -t 0 && test -t 1 && test -t 2 && stty size', '33 101', prompt)
    await say(typist, 'echo up; until [ "$(stty size)" = "40 120" ]; do sleep 0.05; done', '\nup')
    typist.resize(40, 120)
    await typist.shows(prompt)
    await say(typist, "sh -c 'echo up; exec sleep 600'", '\nup')
    typist.type('\x03')
    await typist.shows(prompt)
    await say(typist, 'echo "ended $?"', 'ended 130', prompt)
    await say(typist, "sh -c 'echo up; read word; echo got $word'", '\nup')
    typist.type('\x1a')
    await typist.shows('Stopped')
    await typist.shows(prompt)
    await say(typist, 'fg', 'sh -c')
    await say(typist, 'it', 'got it', prompt)
    await say(typist, "sh -c 'echo up; exec cat'", '\nup')
    await say(typist, 'one', 'one\r\none')
    typist.type('\x04')
    await typist.shows(prompt)
    typist.type('exit 42\n')
  }),
  atTerminal('the system’s TERM', async (typist) => {
    await say(typist, 'echo up; exec sleep 600', '\nup')
    typist.signal('SIGTERM')
  }),
  atTerminal('a terminal that the job leaves raw, and a death by KILL', async ({ type }) => type('stty raw -echo; kill -KILL $$\n')),
  atTerminal('the terminal goes away', async (typist) => typist.hangUp()),
]

/** `bsub -Ip`: what its user's own terminal makes of the interrupt key, LSF sends to the job's processes. */
const byLsf: TerminalCase = {
  name: 'the interrupt key of bsub -Ip', script: 'trap "echo got; exit 3" INT; echo up; while :; do sleep 0.1; done', tidy: (shown) => shown,
  async talk({ shows, signal }) {
    await shows('up')
    signal('SIGINT')
  },
}

/** What the farm itself does wrong is no failure of the job: each system hears of it in its own way. */
const away: readonly (readonly [Player, ReplayCase, string, readonly string[]])[] = [
  [lsf, { name: '', script: 'true' }, 'exit 75', []],
  [lsf, { name: '', script: 'true', call: { LSB_EXIT_REQUEUE: '42 43' } }, 'exit 42', []],
  [lsf, { name: '', script: '#!/bin/sh', call: { form: 'stdin', LSB_EXIT_REQUEUE: '42' } }, 'exit 42', []],
  [pbs, { name: '', script: 'true' }, 'exit 75', []],
  [torque, { name: '', script: 'true' }, 'exit 75', []],
  [htcondor, { name: '', script: 'true', files: true }, 'exit 75', [expect.stringMatching(/^\.job_wrapper_failure: wnod: the job did not run: .*\(BAIT_UNREACHABLE\)/) as string]],
]

describe.skipIf(missingPower !== null)(`played batch systems${missingPower === null ? '' : ` (${missingPower})`}`, () => {
  describe.each([lsf, pbs, torque, htcondor])('$name', (player) => {
    test('has at least twenty cases', () => expect(of(player).length).toBeGreaterThanOrEqual(20))
    test.each(of(player))('$name', async (one) => {
      const onHost: Bait = { ...bait, socket: '/nonexistent.sock', unreachable: 'bare' }
      const [native, ours, become] = await Promise.all([null, bait, onHost].map((where) => replay(player, one, where)))
      expect(ours).toEqual(native)
      expect(become).toEqual(native)
    }, 150_000)
  })

  describe.each([lsf, pbs, torque])('$name, at a terminal', (player) => {
    test.each(player === lsf ? [...terminalCases, byLsf] : terminalCases)('$name', async (one) => {
      const onHost: Bait = { ...bait, socket: '/nonexistent.sock', unreachable: 'bare' }
      const [native, ours, become] = await Promise.all([null, bait, onHost].map((where) => replayAtTerminal(player, one, where)))
      expect(ours).toEqual({ ...native, restored: native?.restored === null ? null : true })
      expect(become).toEqual(native)
    }, 60_000)
  })

  test.each(away)('a bait that is away, %#', async (player, one, record, files) => {
    const seen = await replay(player, one, { ...bait, socket: '/nonexistent.sock' })
    expect(seen).toMatchObject({ record, stdout: '', files })
    expect(seen.stderr).toMatch(/^wnod: the job did not run: .*\(BAIT_UNREACHABLE\): .*\n$/)
  }, 60_000)

  test.each([lsf, pbs, torque, htcondor])('$name: when the job starter is killed, nothing of the job is left in the guest', async (player) => {
    const mark = String(100_000_000 + Math.trunc(process.hrtime()[1] / 10))
    const alive = (): boolean => spawnSync('pgrep', ['-fx', `sleep ${mark}`]).status === 0
    const seen = await replay(player, {
      name: '', script: `sleep ${mark} & echo up; wait`,
      during: async (job) => {
        await job.says('up')
        await until(alive, { withinMs: 10_000, what: 'the job runs' })
        job.signal('SIGKILL')
      },
    }, bait)
    expect(seen.record).toBe(player === lsf ? 'exit 137' : 'SIGKILL')
    await until(() => !alive(), { withinMs: 10_000, what: 'the job is gone' })
  }, 60_000)
})
