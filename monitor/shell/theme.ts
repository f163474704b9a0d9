/** Dark or light: as the system has it, until the reader says otherwise. */
import { signal } from '@preact/signals'

export const themes = ['system', 'light', 'dark'] as const
export type Theme = (typeof themes)[number]
const key = 'wnod-theme'

export const theme = signal<Theme>(themes.find((one) => one === localStorage.getItem(key)) ?? 'system')

/** Shows this theme, now and next time. */
export function setTheme(next: Theme): void {
  theme.value = next
  localStorage.setItem(key, next)
  showTheme()
}

/** The style sheet sees the theme. */
export function showTheme(): void {
  if (theme.value === 'system') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = theme.value
}
