#!/bin/sh -p
# The queue's prolog with `wnod install gridengine --prolog`, called by root with $job_owner and $queue before the job's starter: a job that this host has no
# VWN for goes back into the queue (exit 99). One that would have none anywhere goes on: its starter tells its owner why. Says nothing, for it would be in
# the job's output, and never fails in another way, for that would put the queue into error.
exec </dev/null >/dev/null 2>&1
type=$WNOD_TYPE folder=$SGE_JOB_SPOOL_DIR
. "${0%/*}/settings.sh"
project=$(sed -n 's/^acct_project=//p' "$folder/config" | head -n 1)
case $project in none) project='' ;; esac
hook lease --user "$1" --queue "$2" ${type:+--type "$type"} ${project:+--project "$project"} --refused-code 99 --denied-code 0
case $? in 99) exit 99 ;; *) exit 0 ;; esac
