# For the scripts beside this one, as they are linked into the folder of `wnod install gridengine`: its settings, the job, and how to call a hook.
# Grid Engine gives them the environment of the job, and root is who runs some of them: nothing of it reaches a hook, or its owner could have Node load
# his own code, or have us believe in a bait of his. Where sh is bash, it is their `sh -p` that takes no functions from it.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
job=$JOB_ID
case $SGE_TASK_ID in '' | undefined) ;; *) job=$job.$SGE_TASK_ID ;; esac

WNOD_NODE=node WNOD_HOME='' WNOD_HOOK=''
while IFS= read -r line; do
	case $line in
	WNOD_NODE=*) WNOD_NODE=${line#*=} ;;
	WNOD_HOME=*) WNOD_HOME=${line#*=} ;;
	WNOD_HOOK=*) WNOD_HOOK=${line#*=} ;;
	esac
done <"${0%/*}/wnod-gridengine.env"

hook() { env -i PATH="$PATH" WNOD_HOME="$WNOD_HOME" WNOD_BATCH_SYSTEM=gridengine "$WNOD_NODE" "$WNOD_HOOK" "$@"; }

# True of a process that is no starter any more, but the job itself, on this host.
is_job() { ! tr '\0' '\n' <"/proc/$1/cmdline" | grep -q 'starter\.cjs$'; }
