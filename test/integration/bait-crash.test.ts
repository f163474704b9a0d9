/**
 * `kill -9` of the bait right after each effect of a VWN's life, with a real guest, and a new bait after it: nothing is left that no
 * record explains, and a guest that was available is kept. One guest is carried through most of the deaths.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { templateEffects, type TemplateEffect } from '../../bait/templates/build.ts'
import type { EffectName } from '../../bait/vwns/boot.ts'
import { openHandles } from '../../bait/vwns/handles.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { systemClock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'
import { baitLab, type BaitLab } from '../bait/lab.ts'
import { testImages } from '../harness/images.ts'
import type { ChildOrders } from '../harness/bait-child.ts'

const images = testImages()
const image = await images.any()
const agentImage = await images.named('debian12')
const bootMs = 90_000

/** Baits in processes of their own, one after the other, on the lab's bus and home. */
async function crashLab({ of = image, templates = false } = {}) {
  const lab = await baitLab({ contact: of?.manifest.contact ?? 'ssh', deadlineMs: bootMs, hypervisor: qemu({ clock: systemClock }), images: images.store, ...(of && { image: of.digest }), memoryMib: Math.max(256, of?.manifest.minMemoryMib ?? 0) })
  const program = join(lab.home.home, 'bait-child.mjs')
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url); const __dirname = import.meta.dirname;"
  await build({ entryPoints: ['test/harness/bait-child.ts'], outfile: program, bundle: true, platform: 'node', format: 'esm', target: 'node20', logLevel: 'silent', external: ['cpu-features', '*.node'], banner: { js: banner } })
  let child: ChildProcess | null = null
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child === null) return
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null
    child.kill(signal)
    await ended
    child = null
  }
  return {
    lab,
    /** A bait that lives until it is ended, or dies after this effect; then this resolves once it is dead. */
    async run(dieAfter: EffectName | TemplateEffect | null, job: string | null = null, meanwhile?: () => Promise<void>): Promise<void> {
      const told: ChildOrders = { home: lab.home.home, images: lab.images, nats: lab.nats, dieAfter, job, templates }
      const log = openSync(join(lab.home.home, 'child.log'), 'a')
      child = spawn(process.execPath, [program, JSON.stringify(told)], { stdio: ['ignore', log, log] })
      if (dieAfter === null) return
      const running = child
      await meanwhile?.()
      await until(() => running.signalCode ?? running.exitCode, { withinMs: bootMs, what: `death after ${dieAfter}` })
      expect(running.signalCode).toBe('SIGKILL')
      child = null
    },
    end,
    async [Symbol.asyncDispose]() {
      await end('SIGKILL')
      const hypervisor = qemu({ clock: systemClock })
      for (const vm of await hypervisor.find(`wnod.${lab.home.hash}.`)) await hypervisor.destroy(vm)
      await lab[Symbol.asyncDispose]()
    },
  }
}

/** The last report of the newest bait alone. */
const latest = (lab: BaitLab, state: string, withinMs: number) => {
  const from = lab.reports.length
  return until(() => lab.reports.slice(from).at(-1)?.vwns.find((vwn) => vwn.vwn === 'v1' && vwn.state === state), { withinMs, what: `v1 is ${state}` })
}

const why = image === null ? ': no image was built' : ''

test.skipIf(image === null)(`a guest that is available outlives every death of its bait${why}`, { timeout: 400_000 }, async () => {
  await using crash = await crashLab()
  const { lab, run, end } = crash
  lab.order(lab.wanted('v1'))
  await run('ready')
  await run(null)
  const idle = await latest(lab, 'idle', bootMs)
  expect(await lab.audit()).toEqual([])
  await end('SIGKILL')

  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1', { job, owner: { uid: 1000, gid: 1000, project: null } }))
  for (const effect of ['assigned', 'released', 'cleaned'] as const) await run(effect, effect === 'assigned' ? job : null)
  await run(null)
  expect(await latest(lab, 'idle', bootMs)).toMatchObject({ pid: idle.pid, jobsRun: 1, job: null })
  expect(await lab.audit()).toEqual([])
  await end('SIGTERM')
  expect(await lab.audit()).toEqual([])

  lab.order(lab.wanted('v1', { want: 'gone', owner: { uid: 1000, gid: 1000, project: null } }))
  await run('stopped')
  await run(null)
  await latest(lab, 'gone', bootMs)
  expect(await lab.audit()).toEqual([])
})

test.skipIf(image === null).each(['intent', 'disks', 'spawned', 'recorded', 'running', 'available'] as const)(`death after %s leaves nothing of what was half made${why}`, { timeout: 300_000 }, async (effect) => {
  await using crash = await crashLab()
  const { lab, run, end } = crash
  lab.order(lab.wanted('v1'))
  await run(effect)
  lab.order() // nobody wants it any more
  await run(null)
  await until(() => lab.reports.at(-1)?.vwns.length === 0 && lab.reports.at(-1)?.ordersSeen.generation === 3, { withinMs: bootMs, what: 'nothing is reported' })
  expect(await lab.audit()).toEqual([])
  expect(await qemu({ clock: systemClock }).find(`wnod.${lab.home.hash}.`)).toEqual([])
  await end('SIGTERM')
})

test.skipIf(image === null).each(['stopped', 'removed', 'gone'] as const)(`death after %s, while a VWN is taken back, leaves nothing${why}`, { timeout: 300_000 }, async (effect) => {
  await using crash = await crashLab()
  const { lab, run, end } = crash
  lab.order(lab.wanted('v1'))
  await run(effect, null, async () => {
    await lab.seen('v1', 'booting', bootMs)
    lab.order(lab.wanted('v1', { want: 'gone' }))
  })
  await run(null)
  await lab.seen('v1', 'gone', bootMs)
  expect(await lab.audit()).toEqual([])
  lab.order()
  await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: bootMs, what: 'nothing is reported' })
  expect(await lab.audit()).toEqual([])
  await end('SIGTERM')
})

test.skipIf(agentImage === null)(`a paused VWN outlives the death of its bait, and takes a job of the next one${agentImage === null ? ': no image debian12' : ''}`, { timeout: 400_000 }, async () => {
  await using crash = await crashLab({ of: agentImage })
  const { lab, run, end } = crash
  lab.order(lab.wanted('v1'))
  await run('paused')
  const recorded = async () => (await openHandles(lab.home.host('h1')).peek())[0]?.handle
  const before = await recorded()
  expect(before).toMatchObject({ paused: true, stage: 'ready', job: null })
  expect(await lab.audit()).toEqual([])
  await run('paused') // taken on: woken, checked and paused again
  expect((await recorded())?.vm).toEqual(before?.vm)
  expect(await lab.audit()).toEqual([])

  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1', { job, owner: { uid: 1000, gid: 1000, project: null } }))
  await run('woken', job)
  expect(await lab.audit()).toEqual([])
  await run(null)
  expect(await latest(lab, 'idle', bootMs)).toMatchObject({ pid: before?.vm?.pid, cause: null })
  await end('SIGTERM')
  lab.order()
  await run(null)
  await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: bootMs, what: 'nothing is reported' })
  expect(await lab.audit()).toEqual([])
})

test.skipIf(agentImage === null)(`death while a template is made, or a VWN cloned from it, leaves nothing that is not explained${agentImage === null ? ': no image debian12' : ''}`, { timeout: 600_000 }, async () => {
  await using crash = await crashLab({ of: agentImage, templates: true })
  const { lab, run, end } = crash
  let made = 0
  const fresh = (): string => `v${(made += 1)}`
  for (const effect of [...templateEffects, 'disks', 'spawned', 'recorded', 'running', 'available'] as const) {
    lab.order(lab.wanted(fresh()))
    await run(effect)
    // Beside a template's effects a VWN's files may just be being written: such a half is the next bait's to sweep.
    expect((await lab.audit()).filter(({ what }) => !/\/\.[^/]+\.\w{10}\.tmp$/.test(what)), effect).toEqual([])
  }
  const last = fresh()
  lab.order(lab.wanted(last))
  await run(null)
  await lab.seen(last, 'idle', bootMs)
  expect((await openHandles(lab.home.host('h1')).peek()).find(({ vwn }) => vwn === last)?.handle).toMatchObject({ made: 'clone' })
  lab.order()
  await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: bootMs, what: 'nothing is reported' })
  expect(await lab.audit()).toEqual([])
  await end('SIGTERM')
  expect(await lab.audit()).toEqual([])
  expect(await qemu({ clock: systemClock }).find(`wnod.${lab.home.hash}.`)).toEqual([])
})
