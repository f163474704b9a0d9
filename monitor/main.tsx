/** Starts the page. */
import { render } from 'preact'
import './style.css'
import { startLive } from './shell/live.ts'
import { followLinks } from './shell/place.ts'
import { showTheme } from './shell/theme.ts'
import { App } from './view/app.tsx'

const root = document.querySelector('#app')
if (root === null) throw new Error('index.html has no #app')
showTheme()
followLinks()
startLive()
render(<App />, root)
