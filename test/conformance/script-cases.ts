/** A batch script, which lies in a spool of the bait: the job is that very file. */
import type { Bytes, Case } from './case.ts'

const spooled = (name: string, script: Bytes, argv: readonly Bytes[] = [], more: Partial<Case> = {}): Case => ({ group: 'script', name, script, argv, ...more })
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
/** A script that ends before what no shell could read. */
const withTail = (text: string, tail: Buffer): Buffer => Buffer.concat([Buffer.from(`#!/bin/sh\n${text}; exit\n`), tail])
/** Slurm hands no text to a shell, and has exit codes of its own (test/batch/conformance.test.ts). */
const slurms = { unless: { host: 'as slurmstepd does it' } }
const sumOfItself = 'sha256sum < "$0"; wc -c < "$0"'

export const scriptCases: readonly Case[] = [
  spooled('its own name', '#!/bin/sh\necho "$0"; echo "${0##*/}"; cd "${0%/*}" && pwd\n'),
  spooled('its name, as bash knows it', '#!/bin/bash\necho "$0 $BASH_SOURCE"\n', [], { unless: { ssh: 'the tiny image has no bash' } }),
  spooled('its arguments', '#!/bin/sh\nprintf "%s|" "$#" "$@"\n', ['a b', '', '$x', '--type', "it's", Buffer.from([0xff, 0x0a])]),
  spooled('exit code', '#!/bin/sh\nexit 9\n'),
  spooled('death by a signal', '#!/bin/sh\nkill -TERM $$; sleep 5\n'),
  spooled('stdin is the caller’s, not the script', '#!/bin/sh\ncat\n', [], { stdin: 'a line\n' }),
  spooled('mode and owner', '#!/bin/sh\nstat -c "%a %u %g" "$0"\n'),
  spooled('reads its own bytes', '#!/bin/sh\ncat "$0"\n# tail\n'),
  spooled('every byte', withTail(sumOfItself, everyByte)),
  spooled('4 MiB', withTail(sumOfItself, Buffer.alloc(4 * 1024 * 1024, 'x\n')).subarray(0, 4 * 1024 * 1024)),
  spooled('cannot be removed, for its folder is root’s', '#!/bin/sh\nrm -f "$0" 2>/dev/null; echo $?; test -e "$0" && echo there\n'),
  spooled('can be changed', '#!/bin/sh\necho "# more" >> "$0"; tail -n 1 "$0"\n'),
  spooled('calls itself', '#!/bin/sh\n[ $# = 0 ] && exec "$0" again; echo "$1"\n'),
  spooled('an interpreter with an argument', '#!/bin/cat -n\none\ntwo\n'),
  spooled('an interpreter that is not there', '#!/no/such/interpreter\n', [], { stderr: false, ...slurms }),
  spooled('without an interpreter it is the shell’s', 'echo "$0 ran"\n', [], { call: '(run)', stderr: false, ...slurms }),
  spooled('empty', '', [], { stderr: false, ...slurms }),
]
