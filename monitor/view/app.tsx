/** The frame around every page: where one can go, how fresh it is, dark or light. */
import type { JSX } from 'preact'
import { useEffect } from 'preact/hooks'
import { moment } from '../../core/words.ts'
import type { Page, Place } from '../model/place.ts'
import { farm, feed, nowMs, tryAgain } from '../shell/live.ts'
import { go, linkTo, place } from '../shell/place.ts'
import { setTheme, theme, themes } from '../shell/theme.ts'
import { Ago } from './bits.tsx'
import { FarmView } from './farm.tsx'
import { JobPage } from './job.tsx'
import { PastView } from './past.tsx'
import { TimesPage } from './times.tsx'
import { TypesPage } from './types.tsx'
import { VwnPage } from './vwn.tsx'

const titles = { farm: 'Farm', types: 'Types and images', times: 'Waits and times' } as const satisfies Partial<Record<Page, string>>
const topPages = ['farm', 'types', 'times'] as const

export function App(): JSX.Element {
  const { page, id, atMs } = place.value
  const title = page === 'vwn' || page === 'job' ? `${page === 'vwn' ? 'VWN' : 'Job'} ${id ?? ''}` : titles[page]
  useEffect(() => { document.title = `${title} · wnod` }, [title])
  return (
    <>
      <header class="top">
        <nav aria-label="pages">
          {topPages.map((to) => <a key={to} href={linkTo({ page: to, id: null })} aria-current={page === to ? 'page' : undefined}>{titles[to]}</a>)}
        </nav>
        <Freshness />
        {atMs === null ? page === 'farm' && nowMs.value > 0 && <button type="button" onClick={() => go({ atMs: nowMs.value })}>Rewind</button> : <p class="then">as it was at {moment(atMs)} <a href={linkTo({ atMs: null })}>now</a></p>}
        <label class="theme"><span>theme</span>
          <select value={theme.value} onChange={({ currentTarget }) => setTheme(themes.find((one) => one === currentTarget.value) ?? 'system')}>
            {themes.map((one) => <option key={one}>{one}</option>)}
          </select>
        </label>
      </header>
      <main tabIndex={-1}>{feed.value.is === 'refused' ? <Token /> : <Shown page={page} id={id} atMs={atMs} />}</main>
    </>
  )
}

function Shown({ page, id, atMs }: Pick<Place, 'page' | 'id' | 'atMs'>): JSX.Element {
  if (page === 'vwn' && id !== null) return <VwnPage key={id} id={id} />
  if (page === 'job' && id !== null) return <JobPage key={id} id={id} />
  if (page === 'types') return <TypesPage />
  if (page === 'times') return <TimesPage />
  return atMs === null ? <NowPage /> : <><h1 class="unseen">Farm at {moment(atMs)}</h1><PastView atMs={atMs} /></>
}

const NowPage = (): JSX.Element => (
  <>
    <h1 class="unseen">Farm</h1>
    <FarmView farm={farm.value} atMs={null} />
  </>
)

/** Whether what is shown is true now, and since when not. */
function Freshness(): JSX.Element {
  const now = feed.value
  const words = {
    live: () => <>live</>, loading: () => <>loading…</>, refused: () => <>not let in</>,
    stale: () => <>stale: the controller was last heard {now.is === 'stale' && moment(now.sinceMs)}, <Ago atMs={now.is === 'stale' ? now.sinceMs : nowMs.value} /> ago; trying again</>,
  }[now.is]()
  return <p class={`fresh fresh-${now.is}`} role="status">{words}</p>
}

/** Asks for the token that a controller wants that is not bound to loopback; it is kept for this browser's session. */
function Token(): JSX.Element {
  return (
    <form class="token" onSubmit={(event) => {
      event.preventDefault()
      const token = new FormData(event.currentTarget).get('token')
      if (typeof token !== 'string' || token === '') return
      document.cookie = `wnod_token=${token}; path=/; samesite=strict${location.protocol === 'https:' ? '; secure' : ''}`
      tryAgain()
    }}>
      <h1>This farm wants a token</h1>
      <p>Its administrator has it: docs/operating.md says where.</p>
      <label><span>token</span><input name="token" type="password" autocomplete="current-password" required /></label>
      <button>Show the farm</button>
    </form>
  )
}
