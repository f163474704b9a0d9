/** The real jobs half: job/ behind the unix socket where job starters call. */
import { clean } from './job/clean.ts'
import { createJobs } from './job/jobs.ts'
import { hostUsers } from './job/users.ts'
import type { BaitDeps } from './bait.ts'
import { pendingDesk } from './pending.ts'
import { starterSocket } from './starter-socket.ts'

/** Jobs with their records, their door and their scrub. */
export const openJobs: BaitDeps['openJobs'] = (kit, { paths, settings: { host, reporters }, pending, counts }) => {
  const jobs = createJobs(kit, { host, folder: paths.jobs, onEnded: counts.jobEnded })
  const users = hostUsers(kit.clock)
  const door = starterSocket(kit, {
    host, path: paths.socket, proof: paths.proof, users, onJob: (link) => jobs.accept(link), onControl: jobs.control,
    onPending: pendingDesk(kit, { book: pending, reporters, users }),
  })
  return { jobs, clean, door }
}
