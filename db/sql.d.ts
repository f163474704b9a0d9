/** A migration is imported as its text; esbuild and vitest both know how. */
declare module '*.sql' {
  const text: string
  export { text as default }
}
