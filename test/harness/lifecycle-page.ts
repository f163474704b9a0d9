import { jobLimits, moves as jobMoves } from '../../core/job.ts'
import { patience } from '../../core/host.ts'
import { localStates, reconcile, type Local, type Wanted } from '../../core/reconcile.ts'
import { allowanceMs, moves as vwnMoves } from '../../core/vwn.ts'
import { jobId } from '../../core/ids.ts'

type Moves = Readonly<Record<string, Readonly<Partial<Record<string, readonly string[]>>>>>

/** The text of docs/lifecycle.md. */
export function page(): string {
  return [
    '# Life cycles',
    'Printed from the tables in `core/` by `npm run docs`; the tables are the code. Where an event leads to several states, the facts of the VWN or job decide, and the usual one comes first. An event that is not in the row of a state changes nothing there.',
    '## VWN',
    'Owned by the controller; its row in the database is the truth about what is wanted. A job may be reserved while its VWN is still being made or cleaned: then `ready` and `cleaned` lead to `busy`, else to `idle`. A busy VWN is never stopped, only killed.',
    diagram(vwnMoves, ['requested', 'preparing', 'booting', 'idle', 'busy', 'cleaning', 'stopping', 'fencing']),
    table(vwnMoves),
    `Longest stays: ${Object.entries(allowanceMs).map(([state, ms]) => `${state} ${seconds(ms)}`).join(', ')}; preparing and booting besides twice the boot deadline of its type; idle and the whole life as its type says, what is nobody's only the latter; busy as long as its job. On a host that cannot be heard no deadline runs: after ${seconds(patience.heartbeatMs * patience.missedMax)} without a report nothing more is placed there, and after ${seconds(patience.leaseMs)} its VWNs are fenced. \`fenced\` has three proofs: the bait reports it gone, the host has booted since, a person attests it.`,
    '## Job',
    'Owned by the bait that accepted it; the batch system owns the queue. `starting` is the point of no return: before it a failure is *refused* (it never ran), after it the worst is *lost* (nobody can tell). A suspended job whose guest is to stand still does so at its `deadline`, a moment after its SIGTSTP; whatever moves it on lets the guest run again, or ends it.',
    diagram(jobMoves, ['waiting', 'staging', 'starting', 'running', 'suspended', 'stopping', 'collecting']),
    table(jobMoves),
    `Longest stays: waiting ${jobLimits.waitMs === null ? 'without limit' : seconds(jobLimits.waitMs)}, staging ${seconds(jobLimits.stageMs)}, starting ${seconds(jobLimits.startMs)}, suspended before its guest stands still ${seconds(jobLimits.pauseMs)}, each step of stopping (ask, insist, give up the VWN) ${seconds(jobLimits.stopMs)}, collecting ${seconds(jobLimits.collectMs)}.`,
    '## Host',
    'What the operator wants and what is a fact are two columns that never mix. Want: `open`, `draining` (finishes, takes no more), `closed`. Fact: `alive`; `silent` after missed heartbeats, which ends placements and nothing else; `fenced` when somebody attests that nothing of it runs.',
    '## What a bait does',
    'Wanted by the controller (rows) and observed on the host (columns), again and again until nothing is left to do.',
    actions(),
    '',
  ].join('\n\n').replace(/\n+$/, '\n')
}

const seconds = (ms: number): string => (ms % 60_000 === 0 && ms >= 120_000 ? `${ms / 60_000} min` : `${ms / 1000} s`)

/** The arrows among states, several events on one line. */
function diagram(moves: Moves, states: readonly string[]): string {
  const lines = states.flatMap((from) => {
    const events = new Map<string, string[]>()
    for (const [event, targets] of Object.entries(moves[from] ?? {})) for (const to of targets ?? []) if (to !== from) events.set(to, [...(events.get(to) ?? []), event])
    return [...events].map(([to, names]) => `  ${from} --> ${to}: ${names.join(', ')}`)
  })
  return ['```mermaid', 'stateDiagram-v2', `  [*] --> ${states[0] ?? ''}`, ...lines, '```'].join('\n')
}

function table(moves: Moves): string {
  const rows = Object.entries(moves).map(([state, events]) => {
    const cells = Object.entries(events).map(([event, targets = []]) => `${event} → ${targets.join(' or ')}`)
    return `| ${state} | ${cells.length === 0 ? 'the end' : cells.join('; ')} |`
  })
  return ['| state | event → next |', '|---|---|', ...rows].join('\n')
}

function actions(): string {
  const token = { term: 1, epoch: 1 }
  const job = jobId('h1-1')
  const run: Wanted = { token, want: 'run', insist: false, job }
  const wants: readonly (readonly [string, Wanted | null])[] = [
    ['unknown, or an older claim', null], ['run', { ...run, job: null }], ['run, for a waiting job', run], ['gone', { ...run, want: 'gone' }], ['gone, insisted on', { ...run, want: 'gone', insist: true }],
  ]
  const locals: readonly (readonly [string, Local | null])[] = [
    ['nothing', null], ...localStates.flatMap((state): (readonly [string, Local])[] => {
      const local: Local = { token, state, job: state === 'busy' ? job : null, jobOver: false }
      return state === 'busy' ? [[state, local], ['busy, job over', { ...local, jobOver: true }]] : [[state, local]]
    }),
  ]
  const rows = wants.map(([name, wanted]) => `| ${name} | ${locals.map(([, local]) => reconcile(wanted, local, () => true).do).join(' | ')} |`)
  return [`| wanted ↓ observed → | ${locals.map(([name]) => name).join(' | ')} |`, `|---|${'---|'.repeat(locals.length)}`, ...rows].join('\n')
}
