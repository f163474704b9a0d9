import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { typeName } from '../../core/ids.ts'
import { allowedBy, checkMapping, explainMapping, matches, resolveType, type Mapping, type Match, type Rule, type Who } from '../../core/mapping.ts'
import { el9, type } from './samples.ts'

const [tiny, gpu, old] = ['tiny', 'gpu', 'old'].map(typeName) as [typeof el9, typeof el9, typeof el9]
const rule = (name: string, match: Match, facts: Partial<Rule> = {}): Rule => ({ name, match, type: el9, allow: [], limits: { perUser: null }, fallback: 'requeue', ...facts })
const mapping: Mapping = {
  types: [el9, tiny, gpu].map((name) => ({ ...type, name })),
  rules: [
    rule('physics', { groups: ['atlas', 'cms*'], queues: ['long'] }, { type: tiny }),
    rule('gpu', { users: ['anna'], types: ['gpu'] }, { type: gpu }),
    rule('slurm', { batchSystems: ['slurm'], projects: ['p-*-x'] }, { allow: [tiny, gpu] }),
  ],
  default: rule('default', {}, { allow: [tiny] }),
}
const who = (facts: Partial<Who> = {}): Who => ({ user: 'ben', groups: ['users'], queue: null, project: null, batchSystem: null, requestedType: null, ...facts })

describe('the first rule that matches decides', () => {
  test.each<[string, Partial<Who>, string, string]>([
    ['nothing special', {}, 'default', 'el9'],
    ['a group and a queue', { groups: ['users', 'cms-prod'], queue: 'long' }, 'physics', 'tiny'],
    ['the group in another queue', { groups: ['atlas'], queue: 'short' }, 'default', 'el9'],
    ['a type that a rule is for', { user: 'anna', requestedType: gpu }, 'gpu', 'gpu'],
    ['a type that the default allows', { requestedType: tiny }, 'default', 'tiny'],
    ['a pattern', { batchSystem: 'slurm', project: 'p-17-x', requestedType: gpu }, 'slurm', 'gpu'],
  ])('%s', (_what, facts, name, given) => {
    expect(resolveType(mapping, who(facts))).toMatchObject({ is: 'matched', rule: { name }, type: { name: given } })
  })

  test('even if it then refuses', () => {
    expect(resolveType(mapping, who({ requestedType: gpu }))).toMatchObject({ is: 'refused', code: 'TYPE_NOT_ALLOWED', allowed: ['el9', 'tiny'], why: 'rule default allows el9, tiny, not gpu' })
  })

  test('and a type that does not exist is unknown, with those that would do', () => {
    expect(resolveType(mapping, who({ requestedType: old }))).toMatchObject({ is: 'refused', code: 'TYPE_UNKNOWN', allowed: ['el9', 'tiny'] })
  })

  test('and without a default nobody may come unnamed', () => {
    expect(resolveType({ ...mapping, default: null }, who({ queue: 'q', project: 'p' }))).toMatchObject({ is: 'refused', code: 'MAPPING_NO_RULE', why: 'no rule speaks of user ben, queue q, project p' })
  })
})

describe('a rule that gives no type', () => {
  const onHost: Mapping = { ...mapping, rules: [rule('short', { queues: ['short'] }, { type: null }), rule('quick', { queues: ['quick'] }, { type: null, allow: [tiny] })] }

  test('runs jobs on the host itself, unless they ask for a type that it allows', () => {
    expect(resolveType(onHost, who({ queue: 'short' }))).toMatchObject({ is: 'bare', rule: { name: 'short' }, allowed: [] })
    expect(resolveType(onHost, who({ queue: 'quick' }))).toMatchObject({ is: 'bare', allowed: ['tiny'] })
    expect(resolveType(onHost, who({ queue: 'quick', requestedType: tiny }))).toMatchObject({ is: 'matched', type: { name: 'tiny' } })
    expect(resolveType(onHost, who({ queue: 'short', requestedType: tiny }))).toMatchObject({ is: 'refused', code: 'TYPE_NOT_ALLOWED', why: 'rule short runs jobs on the host itself and allows no type' })
  })

  test('uses no type, and needs none', () => {
    expect(checkMapping({ types: [], rules: [rule('all', {}, { type: null })], default: null })).toEqual([])
    expect(checkMapping({ ...onHost, types: [], default: rule('default', {}, { type: typeName('bare') }) }).map(({ message }) => message)).toEqual(expect.arrayContaining(['there is no VWN type bare; to run jobs on the host itself, write `bare: true`']) as string[])
  })
})

test('every rule says why it did or did not decide', () => {
  expect(explainMapping(mapping, who({ user: 'anna', requestedType: gpu, groups: ['atlas'] }))).toEqual([
    { rule: 'physics', is: 'noMatch', why: 'queue is not given, wanted long' },
    { rule: 'gpu', is: 'matched', why: 'users anna, types gpu' },
    { rule: 'slurm', is: 'notReached', why: 'gpu has decided' },
    { rule: 'default', is: 'notReached', why: 'gpu has decided' },
  ])
  expect(explainMapping(mapping, who()).at(-1)).toEqual({ rule: 'default', is: 'matched', why: 'matches every job' })
  expect(explainMapping(mapping, who())[0]?.why).toBe('group users is not atlas or cms*')
})

test('the explanation and the decision are of one mind', () => {
  const name = fc.constantFrom('a', 'b', 'ab', 'a*', '*', '*b')
  const names = fc.option(fc.array(name, { minLength: 1, maxLength: 2 }), { nil: undefined })
  const anyRule = fc.record({ users: names, groups: names, queues: names }).map((match) => Object.fromEntries(Object.entries(match).filter(([, value]) => value !== undefined)) as Match)
  const value = fc.constantFrom('a', 'b', 'ab', 'c')
  fc.assert(fc.property(fc.array(anyRule, { maxLength: 5 }), value, fc.array(value), fc.option(value), fc.boolean(), (matchList, user, groups, queue, open) => {
    const some: Mapping = { ...mapping, rules: matchList.map((match, index) => rule(`r${index}`, match)), default: open ? mapping.default : null }
    const asking = who({ user, groups, queue })
    const decided = resolveType(some, asking)
    const traces = explainMapping(some, asking)
    expect(traces.find((trace) => trace.is === 'matched')?.rule ?? null).toBe(decided.rule?.name ?? null)
    // A rule that is said to be unreachable never decides.
    for (const problem of checkMapping(some)) {
      if (problem.message.startsWith('is never reached')) expect(decided.rule?.name).not.toBe(`r${problem.path[1]}`)
    }
  }))
})

describe('a mapping is checked as a whole', () => {
  const messages = (of: Mapping): string[] => checkMapping(of).map(({ severity, path, message }) => `${severity} ${path.join('.')} ${message}`)

  test('a good one has nothing to say', () => {
    expect(messages(mapping)).toEqual([])
  })

  test.each<[string, Partial<Mapping>, string]>([
    ['an unknown type', { rules: [rule('r', { users: ['a'] }, { type: old })] }, 'error rules.0.type there is no VWN type old'],
    ['an unknown allowed type', { rules: [rule('r', { users: ['a'] }, { allow: [tiny, old] })] }, 'error rules.0.allow.1 there is no VWN type old'],
    ['an unknown default', { default: rule('default', {}, { type: old }) }, 'error default.type there is no VWN type old'],
    ['two rules of one name', { rules: [rule('r', { users: ['a'] }), rule('r', { users: ['b'] })] }, 'error rules two rules are called r'],
    ['a pool that keeps more than its most', { types: [{ ...type, pool: { min: 3, max: 2, memoryShare: 1 } }] }, 'error types.el9.pool.min 3 is more than max, 2'],
    ['two types of one name', { types: [type, type] }, 'error types.el9 type el9 is defined twice'],
    ['an empty condition', { rules: [rule('r', { users: [] })] }, 'error rules.0.match.users is empty and so matches nothing'],
    ['a rule behind a wider one', { rules: [rule('all a', { users: ['a*'] }), rule('ab', { users: ['ab', 'ac*'], queues: ['q'] })] }, 'warning rules.1 is never reached: all a matches everything that it matches'],
    ['neither rule nor default', { rules: [], default: null }, 'error rules has neither a rule nor a default: every job would be refused'],
    ['no default', { default: null }, 'warning default has no default: jobs that no rule matches are refused'],
    ['a type for nobody', { types: [...mapping.types, { ...type, name: old }] }, 'warning types.old no rule gives type old'],
    ['a type that is matched but not allowed', { rules: [rule('r', { types: ['gpu'] })] }, 'warning rules.0.match.types type gpu is matched, but not allowed'],
  ])('%s', (_what, facts, message) => {
    expect(messages({ ...mapping, ...facts })).toContain(message)
  })
})

test('a rule allows its own type first, and each once', () => {
  expect(allowedBy(rule('r', {}, { type: tiny, allow: [gpu, tiny, el9, gpu] }))).toEqual(['tiny', 'el9', 'gpu'])
})

describe('a pattern', () => {
  test.each([['abc', 'abc'], ['*', ''], ['a*', 'abc'], ['*c', 'abc'], ['a*c', 'ac'], ['a*b*c', 'axxbyyc'], ['*b*', 'abc'], ['a**c', 'abc']])('%s matches %s', (pattern, value) => {
    expect(matches(pattern, value)).toBe(true)
  })
  test.each([['abc', 'abcd'], ['a*', 'ba'], ['ab*bc', 'abc'], ['a*b*c', 'acb'], ['', 'a'], ['a.c', 'abc']])('%s does not match %s', (pattern, value) => {
    expect(matches(pattern, value)).toBe(false)
  })

  test('means what the same regular expression means', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 6 })
    fc.assert(fc.property(letters, fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 }), (pattern, value) => {
      expect(matches(pattern, value)).toBe(new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(value))
    }), { numRuns: 500 })
  })
})
