/** What a host offers, as each batch system wants to be told. Pure. */
import type { ResourceView } from '../../wire/api.ts'

export const formats = ['slurm', 'sge', 'elim', 'condor', 'pbs'] as const
export type Format = (typeof formats)[number]

/** Two types may get one name (`el9-a` and `el9.a`); then what is said holds for either. */
export function byName(resources: readonly ResourceView[]): readonly ResourceView[] {
  const named = new Map<string, ResourceView>()
  for (const one of resources) {
    const other = named.get(one.name)
    if (other === undefined || one.jobs < other.jobs) named.set(one.name, one)
  }
  return [...named.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** One text for Slurm's `Gres=`: what jobs have counts as well, for Slurm takes that off by itself. */
export const gres = (resources: readonly ResourceView[]): string => byName(resources).map(({ name, jobs, inUse }) => `${name}:${jobs + inUse}`).join(',')

/** One report of a load sensor of Grid Engine, for this node. */
export const sensorReport = (node: string, resources: readonly ResourceView[]): string =>
  ['begin', ...byName(resources).map(({ name, jobs }) => `${node}:${name}:${jobs}`), 'end', ''].join('\n')

/** One line of an elim of LSF: how many, then name and value of each. */
export function elimLine(resources: readonly ResourceView[]): string {
  const named = byName(resources)
  return `${[named.length, ...named.flatMap(({ name, jobs }) => [name, jobs])].join(' ')}\n`
}

/** Attributes for HTCondor's STARTD_CRON: `VmDebian12Free`, and the milliseconds until one is ready where there is any. */
export const condorAttributes = (resources: readonly ResourceView[]): string =>
  `${byName(resources).flatMap(({ name, jobs, readyMs }) => {
    const attribute = name.split('_').map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
    return [`${attribute}Free = ${jobs}\n`, ...(readyMs === null ? [] : [`${attribute}ReadyMs = ${readyMs}\n`])]
  }).join('')}-\n`

/** Lines of `name=value` for a hook of PBS. */
export const pbsLines = (resources: readonly ResourceView[]): string => byName(resources).map(({ name, jobs }) => `${name}=${jobs}\n`).join('')
