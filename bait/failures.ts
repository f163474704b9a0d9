import { explain, isVwnError, vwnErrorIn, type ErrorCode } from '../core/errors.ts'
import { failure, type Failure } from '../core/failure.ts'

const messageChars = 4096

/** The account of an error for other programs: the whole chain in one line. A bug is said to be one of `otherwise`. */
export function failureOf(error: unknown, otherwise: ErrorCode, ending = ''): Failure {
  const row = failure(vwnErrorIn(error)?.code ?? otherwise)
  const why = explain(error)
  const said = isVwnError(error) ? why : `${row.message}: ${why}`
  return { ...row, message: withEnding(said, ending) }
}

/** An account whose message ends with a guest's last words. */
export const withConsole = (account: Failure, console: string): Failure => ({ ...account, message: withEnding(account.message, console) })

function withEnding(message: string, ending: string): string {
  if (ending === '') return message.slice(0, messageChars)
  const intro = '\nend of its serial log:\n'
  return `${message.slice(0, messageChars / 2)}${intro}${ending.slice(-(messageChars / 2 - intro.length))}`
}
