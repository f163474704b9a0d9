#!/bin/sh -p
# The queue's epilog, called by root when the job's starter has ended: the slot is free when nothing of the job is left in its VWN. Says nothing,
# for it would be in the job's output, and never fails, for that would put the queue into error.
exec </dev/null >/dev/null 2>&1
. "${0%/*}/settings.sh"
hook release "$job"
exit 0
