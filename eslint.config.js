import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

const time = 'Time and randomness come from kit/clock.ts, so that tests own them.'
const defaultExport = { selector: 'ExportDefaultDeclaration', message: 'Named exports only.' }
const enumBan = { selector: 'TSEnumDeclaration', message: 'A union of strings, not an enum.' }
const timeBans = [
  { selector: "CallExpression[callee.object.name='Date'][callee.property.name='now']", message: time },
  { selector: "CallExpression[callee.object.name='Math'][callee.property.name='random']", message: time },
  { selector: "CallExpression[callee.object.name='performance'][callee.property.name='now']", message: time },
  { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: time },
  { selector: 'CallExpression[callee.name=/^(setTimeout|setInterval)$/]', message: time },
  { selector: "ImportDeclaration[source.value=/^(node:)?timers/]", message: time },
]
const wait = 'Wait for a condition: `await until(() => …, { withinMs, what })`.'
const sleepBans = [
  { selector: 'CallExpression[callee.name=/^(sleep|delay|setTimeout|setInterval)$/]', message: wait },
  { selector: "CallExpression[callee.object.name='systemClock'][callee.property.name='sleep']", message: wait },
  { selector: 'ImportDeclaration[source.value=/^(node:)?timers/]', message: wait },
]

export default defineConfig(
  { ignores: ['dist/', 'node_modules/', 'coverage/'] },
  { files: ['**/*.{js,mjs}'], extends: [tseslint.configs.recommended] },
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [tseslint.configs.recommended],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      'no-restricted-syntax': ['error', defaultExport, enumBan, ...timeBans],
      'no-console': 'error',
      eqeqeq: 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false, attributes: false } }],
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-empty-object-type': 'off',
    },
  },
  // Decisions neither wait nor look at the world.
  {
    files: ['core/**'],
    rules: {
      'no-restricted-syntax': ['error', defaultExport, enumBan, ...timeBans, { selector: ':function[async=true]', message: 'core/ decides; it never waits.' }],
      'no-restricted-globals': ['error', 'process', 'Buffer', 'fetch', 'crypto', 'performance', 'setImmediate', 'queueMicrotask'],
    },
  },
  // The clock itself, the page's own; and two places too small to be handed one: what runs in the guest and the job starter.
  {
    files: ['kit/clock.ts', 'monitor/clock.ts', 'vwn-agent/**', 'hooks/**'],
    rules: { 'no-restricted-syntax': ['error', defaultExport, enumBan] },
  },
  { files: ['test/**', 'bench/**'], rules: { 'no-restricted-syntax': ['error', defaultExport, enumBan, ...sleepBans] } },
  // Tools that load a file by its default export.
  { files: ['vitest.config.ts', 'test/harness/summary-reporter.ts'], rules: { 'no-restricted-syntax': 'off' } },
)
