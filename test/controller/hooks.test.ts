/** `wnod hook lease` and `resources` against a real controller, as batch systems call them. */
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { answer } from '../../hooks/htcondor/job-hook.ts'
import { usualMapping, type TestController } from '../harness/controller.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })
const folder = mkdtempSync(join(tmpdir(), 'wnod-hook-'))
const file = join(folder, 'hook.cjs')
let played: PlayedFarm
let controller: TestController
beforeAll(async () => {
  execFileSync(join(import.meta.dirname, '../../node_modules/.bin/esbuild'), [join(import.meta.dirname, '../../hooks/hook.ts'), `--outfile=${file}`, '--bundle', '--platform=node', '--format=cjs', '--target=node20', '--log-level=error'])
  played = await startPlayedFarm({ mapping: usualMapping.replace('rules: []', 'rules: [{ name: none, match: { queues: [closed] }, type: huge }]').replace('  small:', '  huge: { image: debian12, cpus: 900, memory_mib: 1024, scratch_gib: 4 }\n  small:') })
  ;({ controller } = played)
  await vi.waitUntil(async () => (await controller.hosts()).some(({ fact }) => fact === 'alive'), { timeout: 20_000 })
})
afterAll(async () => {
  await played[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const env = (home = controller.home.home): NodeJS.ProcessEnv => ({ PATH: `${folder}:${process.env['PATH']}`, WNOD_HOME: home, WNOD_HOST: 'h1', WNOD_NODE: 'node17' })
const hook = (args: readonly string[], home?: string) => execa(process.execPath, [file, ...args], { env: env(home), extendEnv: false, reject: false })
const silent = { exitCode: 0, stdout: '', stderr: '' }

describe('lease', () => {
  test('says nothing of a job that can be placed on this host', async () => {
    expect(await hook(['lease', '--user', 'anna', '--group', 'users', '--type', 'small'])).toMatchObject(silent)
  })

  test.each([
    [['--type', 'nosuch'], 'TYPE_UNKNOWN'],
    [['--queue', 'closed'], 'HOST_TOO_SMALL'],
  ])('refuses one that cannot: %j', async (asked, code) => {
    const { exitCode, stdout, stderr } = await hook(['lease', '--user', 'anna', '--group', 'users', '--refused-code', '99', ...asked])
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 99, stdout: '', stderr: expect.stringMatching(new RegExp(`^wnod: .*\\(${code}\\).*$`)) as string })
  })

  test('has another exit where asking again would not help', async () => {
    const asked = ['lease', '--user', 'anna', '--group', 'users', '--refused-code', '99', '--denied-code', '3']
    expect(await hook([...asked, '--type', 'nosuch'])).toMatchObject({ exitCode: 3 })
    expect(await hook([...asked, '--queue', 'closed'])).toMatchObject({ exitCode: 99 })
  })

  test('leaves it to the job itself where the controller is away, unless it is told to be strict', async () => {
    expect(await hook(['lease', '--user', 'anna', '--type', 'nosuch'], folder)).toMatchObject(silent)
    expect(await hook(['lease', '--user', 'anna', '--strict'], folder)).toMatchObject({ exitCode: 75, stderr: expect.stringContaining('(CONTROLLER_AWAY)') as string })
  })
})

describe('HTCondor', () => {
  const prepare = (ad: string, more: readonly string[] = [], home?: string) => execa(process.execPath, [file, 'htcondor', 'prepare', ...more], { env: env(home), extendEnv: false, reject: false, input: ad })

  test.each<[string, string, readonly string[]]>([
    ['that can be placed', 'VM = "small"\n', []],
    ['that is none of ours', 'Cmd = "x"\nJobQueue = "closed"\n', []],
    ['that would be refused anywhere: its starter says so', 'VM = "nosuch"\n', []],
    ['whose type is no name', 'VM = strcat("a", "b")\nJobQueue = "closed"\n', ['--all']],
  ])('says nothing of a job %s', async (_what, ad, more) => expect(await prepare(ad, more)).toMatchObject(silent))

  test('a job that this host has no VWN for is idle again, with the reason', async () => {
    const { exitCode, stdout, stderr } = await prepare('Args = "VM = 1"\nJobQueue = "closed"\n', ['--all'])
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    expect(stdout).toMatch(/^HookStatusCode = 300\nHookStatusMessage = "wnod: a job like this does not run here: .* \(HOST_TOO_SMALL\): [^\n]*"$/)
    expect(await prepare('JobQueue = "closed"\n', ['--all'], folder)).toMatchObject(silent)
  })

  test('what is said is one string of an ad, whatever is in it', () => {
    expect(answer({ is: 'refused', said: 'a "b" \\ c\nd' })).toBe('HookStatusCode = 300\nHookStatusMessage = "wnod: a \\"b\\" \\\\ c d"\n')
  })
})

test('pending jobs that name no type count as what the mapping gives their owners', async () => {
  writeFileSync(join(folder, 'squeue'), "#!/bin/sh\nprintf 'Resources|root|bio|a\\nResources|root|bio|a\\nPriority|root||closed\\nPriority|nobody-here||a\\nDependency|root|bio|a\\n'\n")
  chmodSync(join(folder, 'squeue'), 0o755)
  expect(await hook(['pending', '--from', 'slurm', '--dry-run'])).toMatchObject({ ...silent, stdout: 'huge=1\nstandard=2' })
  expect(await hook(['pending', '--from', 'slurm', '--dry-run'], folder)).toMatchObject({ exitCode: 75, stdout: '', stderr: expect.stringContaining('(CONTROLLER_AWAY)') as string })
})

describe('resources', () => {
  test('are told to each batch system in its own words', async () => {
    const { resources } = (await controller.call('GET', '/v1/hosts/h1/resources')).body as { resources: { name: string; jobs: number }[] }
    const jobs = (name: string): number => resources.find((one) => one.name === name)?.jobs ?? -1
    expect([jobs('vm_small') > 0, jobs('vm_standard') > 0, jobs('vm_huge')]).toEqual([true, true, 0])
    const [small, standard] = [jobs('vm_small'), jobs('vm_standard')]
    expect((await hook(['resources', '--format', 'pbs'])).stdout).toBe(`vm_huge=0\nvm_small=${small}\nvm_standard=${standard}`)
    expect((await hook(['resources', '--format', 'slurm', '--dry-run'])).stdout).toBe(`scontrol update nodename=node17 Gres=vm_huge:0,vm_small:${small},vm_standard:${standard}`)
    expect((await hook(['resources', '--format', 'condor'])).stdout).toMatch(new RegExp(`^VmHugeFree = 0\nVmSmallFree = ${small}\nVmSmallReadyMs = \\d+\nVmStandardFree = ${standard}\nVmStandardReadyMs = \\d+\n-$`))
  })

  test('are set in Slurm by its own command', async () => {
    writeFileSync(join(folder, 'scontrol'), `#!/bin/sh\necho "$@" >${folder}/said\n`)
    chmodSync(join(folder, 'scontrol'), 0o755)
    expect(await hook(['resources', '--format', 'slurm'])).toMatchObject(silent)
    expect(execFileSync('cat', [join(folder, 'said')], { encoding: 'utf8' })).toMatch(/^update nodename=node17 Gres=vm_huge:0,vm_small:\d+,vm_standard:\d+\n$/)
    writeFileSync(join(folder, 'scontrol'), '#!/bin/sh\necho bad node >&2; exit 1\n')
    expect(await hook(['resources', '--format', 'slurm'])).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('(COMMAND_FAILED)') as string })
  })

  test('answer Grid Engine\'s sensor protocol line by line, to `quit` or the end', async () => {
    for (const last of ['quit\n', '']) {
      const child = spawn(process.execPath, [file, 'resources', '--format', 'sge'], { env: env(), stdio: ['pipe', 'pipe', 'inherit'] })
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      for (let times = 0; times < 2; times += 1) {
        child.stdin.write('\n')
        const said: string[] = []
        while (said.at(-1) !== 'end') said.push((await lines.next()).value as string)
        expect(said).toEqual(['begin', 'node17:vm_huge:0', expect.stringMatching(/^node17:vm_small:\d+$/), expect.stringMatching(/^node17:vm_standard:\d+$/), 'end'])
      }
      child.stdin.end(last)
      expect((await once(child, 'exit'))[0]).toBe(0)
    }
  })

  test('come as one line to an elim, which goes on until it is told to end', async () => {
    const child = spawn(process.execPath, [file, 'resources', '--format', 'elim'], { env: env(), stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = await once(createInterface({ input: child.stdout }), 'line') as [string]
    expect(line).toMatch(/^3 vm_huge 0 vm_small \d+ vm_standard \d+$/)
    child.kill('SIGTERM')
    expect((await once(child, 'exit'))[1]).toBe('SIGTERM')
  })

  test('of a host that nobody knows, or in words that nobody speaks, are a failure', async () => {
    expect(await hook(['resources', '--format', 'pbs', '--host', 'h9'])).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringContaining('(HOST_NOT_FOUND)') as string })
    expect(await hook(['resources', '--format', 'xml'])).toMatchObject({ exitCode: 2 })
  })
})
