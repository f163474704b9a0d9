#!/bin/sh
# The queue's terminate_method with `wnod install gridengine --grace S`: called with $job_pid by the job's user, whose job it is to end. Grid Engine
# itself calls it again every few seconds and would never insist, so this does: TERM, then KILL after S seconds, to the job starter; its end is
# the job's. Says nothing: there is nobody to read it.
exec >/dev/null 2>&1
grace=5
while read -r line; do
	case $line in WNOD_GRACE=*) grace=${line#*=} ;; esac
done <"${0%/*}/wnod-gridengine.env"

# Once is enough: the second call finds the first at work.
case $1 in '' | *[!0-9]*) exit 0 ;; esac
mark=${TMPDIR:-/tmp}/.wnod-terminate.$1
mkdir "$mark" || exit 0
trap 'rmdir "$mark"' EXIT
kill -TERM "$1"
left=$((grace * 10))
while [ "$left" -gt 0 ] && kill -0 "$1"; do
	sleep .1
	left=$((left - 1))
done
kill -KILL "$1"
exit 0
