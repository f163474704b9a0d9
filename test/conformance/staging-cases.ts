/** The working directory goes in, and what changed comes back. */
import type { Case } from './case.ts'

const sh = (script: string): readonly string[] => ['sh', '-c', script]
const staged = { group: 'staging', options: ['--stage'], files: true } as const

export const stagingCases: readonly Case[] = [
  { ...staged, name: 'the job finds the directory under its own name', argv: ['pwd'] },
  { ...staged, name: 'files are there, with their contents', before: 'echo one >a; mkdir -p d/e; echo two >d/e/b', argv: sh('cat a d/e/b; ls') },
  { ...staged, name: 'what is made and changed comes back', before: 'echo old >a; echo same >b', argv: sh('echo new >a; echo made >c; mkdir -p x/y; echo deep >x/y/z') },
  { ...staged, name: 'modes, both ways', before: 'umask 022; echo 1 >a; chmod 640 a; echo 2 >b; chmod 755 b; mkdir m; chmod 700 m', argv: sh('ls -l a b | cut -c1-10; umask 022; echo x >c; chmod 604 c; chmod 600 b; echo more >>b') },
  { ...staged, name: 'symbolic links, dangling ones too', before: 'echo t >t; ln -s t rel; ln -s /etc/hostname abs; ln -s nowhere dangling; mkdir d; ln -s ../t d/up', argv: sh('for f in rel abs dangling d/up; do readlink $f; done; cat rel; ln -s rel again') },
  { ...staged, name: 'empty files and empty directories', before: ': >empty; mkdir hollow', argv: sh('test -f empty && test -d hollow && echo there; : >empty2; mkdir hollow2') },
  { ...staged, name: 'names with blanks and other letters', before: 'echo 1 >"with blank"; echo 2 >-dash; echo 3 >"ümläut"', argv: sh('cat "with blank" ./-dash "ümläut"; echo 4 >" lead"') },
  { ...staged, name: 'a name with a newline', before: `echo 1 >$'new\\nline'`, argv: sh('cat new*; echo changed > "new\nline"') },
  { ...staged, name: '5 MiB in one file, both ways', before: 'head -c 5242880 /dev/zero | tr "\\000" z >big', argv: sh('sha256sum <big; tr z y <big >big2') },
  { ...staged, name: 'times stay', before: 'echo 1 >a; touch -d @1000000000 a', argv: sh('ls -l --full-time a 2>/dev/null | grep -c 2001; :') },
  { ...staged, name: 'a script of the directory runs', before: 'printf "#!/bin/sh\\necho ran \\"$1\\"\\nexit 5\\n" >job.sh; chmod 755 job.sh', argv: ['./job.sh', 'here'] },
  { ...staged, name: 'what a pattern leaves out stays at home', options: ['--stage', '--exclude', '*.log'], before: 'echo 1 >a; echo 2 >b.log', argv: sh('ls; echo new >c'), expected: { code: 0, stdout: 'a\n' } },
  { ...staged, name: 'only what a pattern names goes in', options: ['--stage', '--include', 'src/**'], before: 'mkdir -p src/x other; echo 1 >src/x/a; echo 2 >other/b', argv: sh('find . -type f'), expected: { code: 0, stdout: './src/x/a\n' } },
  { ...staged, name: 'a file that may not be read: the job never runs', before: 'echo 1 >secret; chmod 000 secret', argv: ['true'], files: false, expected: { code: 75, stdout: '' } },
  { ...staged, name: 'what comes back when the job fails', argv: sh('echo partial >result; exit 9') },
]
