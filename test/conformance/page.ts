import { scriptRoots } from '../../core/script-path.ts'
import { groups, type Case, type Contact } from './case.ts'
import { cases } from './cases.ts'

const titles: Readonly<Record<(typeof groups)[number], string>> = {
  exit: 'Exit codes',
  death: 'Death by a signal',
  signals: 'Signals on their way to the job',
  streams: 'Streams',
  arguments: 'Arguments',
  environment: 'Environment',
  surroundings: 'User, directory, umask, priority',
  limits: 'Resource limits',
  terminal: 'Terminal',
  staging: 'Working directory, with `--stage`',
  script: 'A script in the spool of the batch system',
}
const contacts = ['agent', 'ssh'] as const satisfies readonly Contact[]

/** What no case can compare, and what a caller should know all the same. */
const known: readonly string[] = [
  'Three things of the caller are exact only with `dist/wnod-starter`, which looks at them before Node starts; Node takes them away without a trace. Called as `wnod run`, `wnod-starter.js` or `node dist/starter.cjs`, the job starter gives the job `/dev/null` for a descriptor 0, 1 or 2 that is closed (Node opens it just as `<>/dev/null` does), the default of every signal that is ignored, real-time ones excepted (Node sets them so; what the parent ignores for itself says nothing), and the soft limit of open files that its parent has (Node raises its own). A job on the host itself also has its caller\u2019s blocked signals, and descriptors beyond these three, with `dist/wnod-starter` alone.',
  'A signal that is ignored still kills the job starter if it comes while Node itself starts, some tens of milliseconds; the job has not run then. Signals that are blocked in the caller are not blocked in the job.',
  'A reader of stderr sees its end when the job has ended, not when the job closes it before: the job starter may have a last word to say there. It has one about a job that never ran, is lost, or has failed after a process of it was killed because its memory ran out.',
  'A job that asks for memory (`--memory`, or as its batch system says) is bounded to it by a cgroup in the guest, and `outOfMemory` is in its record. In guests with `contact: ssh` there is no such bound: all of the VWN\u2019s memory is the job\u2019s, and what the kernel kills for want of it is a plain SIGKILL.',
  'Of a stdin that several processes share, the job starter reads ahead: what the job leaves unread is gone for those after it.',
  'SEGV, BUS, FPE and ILL sent to the job starter from outside kill it, which cancels the job; PIPE sent from outside is ignored; real-time signals are not forwarded. Death of the *job* by any of them comes back as such.',
  'A write error of stdout other than a closed reader (a full disk) is a SIGPIPE for the job. Where the job has ended with 0 already, the starter says so on stderr and exits with the code for lost jobs.',
  'An address space limit (`ulimit -v`) holds for the job starter as well, and Node needs about 1 GiB of it.',
  'With `--stage`, what the job removes is not removed at the caller; set-user-id and set-group-id bits do not come back; names must be UTF-8.',
  `A script in a spool is at its own path in the guest where that is below ${scriptRoots.map((root) => `\`${root}\``).join(', ')}, its folder is not there, and nobody but root can exchange a folder on the way (in guests with the agent, below the user\u2019s own home too). Anywhere else it is in a folder below \`/tmp\`, and arguments that name it follow. Its folders are root\u2019s and open to all; it holds at most 4 MiB.`,
  'In guests with `contact: ssh`: CHLD cannot be ignored from the start; HOME is not changed to the one in the guest; an environment entry without a name is left out; the signal of a closed stdout reaches the whole process group; a process that keeps stdout or stderr open holds up the end of the job.',
]

/** The text of docs/conformance.md. */
export function page(): string {
  const compared = cases.filter((one) => one.expected === undefined).length
  const sections = groups.map((group) => `## ${titles[group]}\n\n${table(cases.filter((one) => one.group === group))}`)
  return `# What a job in a VWN shares with one on the bare node

Printed from \`test/conformance/cases.ts\` by \`npm run docs\`. ${cases.length} cases; ${compared} of them run bare, in a guest with the agent and in one
that has ssh alone, and what their caller can see is compared byte for byte: output, exit code, signal, files. The same cases also run on the host
itself by a job starter that becomes the job, where all of them hold (a script that is no program is as Slurm has it). The others have no
bare counterpart and are held against what is written down. Of cases that differ by a number alone \`npm test\` runs one of four in a guest that has ssh alone;
\`WNOD_CONFORMANCE=all npx vitest run test/conformance\` all of them.

${sections.join('\n')}
## Differences that are known

${known.map((line) => `- ${line}`).join('\n')}
`
}

function table(rows: readonly Case[]): string {
  const lines = rows.map((one) => `| ${cell(one.name)} | ${contacts.map((contact) => cell(one.unless?.[contact] ?? 'yes')).join(' | ')} |`)
  return `| case | \`contact: agent\` | \`contact: ssh\` |\n|---|---|---|\n${lines.join('\n')}\n`
}

const cell = (text: string): string => text.replaceAll('|', '\\|')
