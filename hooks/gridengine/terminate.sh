#!/bin/sh
# The queue's terminate_method with `wnod install gridengine --grace S`, called with $job_pid and S by the job's user. Grid Engine calls it again every few
# seconds and would never insist, so this does: the job gets TERM, after S seconds KILL, also where it is suspended; should the bait not answer, its
# starter gets them. A job on the host itself gets them with all that it has started. Says nothing: there is nobody to read it.
exec </dev/null >/dev/null 2>&1
. "${0%/*}/settings.sh"
case $1:$2 in :* | *: | *[!0-9:]*) exit 0 ;; esac

# Once is enough: a second call finds the first at work.
mark=${TMPDIR:-/tmp}/.wnod-terminate.$1
mkdir "$mark" || exit 0
trap 'rmdir "$mark"' EXIT
whom=$1
if is_job "$1"; then
	whom=-$1
	kill -TERM -- "$whom"
else
	hook control terminate "$job" --grace "$2" || kill -TERM "$1"
fi
left=$(($2 * 10))
while [ "$left" -gt 0 ] && kill -0 -- "$whom"; do
	sleep .1
	left=$((left - 1))
done
kill -KILL -- "$whom"
exit 0
