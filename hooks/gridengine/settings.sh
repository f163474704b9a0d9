# For the scripts beside this one, as they are linked into the folder of `wnod install gridengine`: its settings, the job, and how to call a hook.
WNOD_NODE=node WNOD_HOOK=
while IFS= read -r line; do
	case $line in
	WNOD_NODE=* | WNOD_HOME=* | WNOD_SOCKET=* | WNOD_HOOK=*) export "$line" ;;
	esac
done <"${0%/*}/wnod-gridengine.env"

job=$JOB_ID
case $SGE_TASK_ID in '' | undefined) ;; *) job=$job.$SGE_TASK_ID ;; esac
hook() { "$WNOD_NODE" "$WNOD_HOOK" "$@" --batch-system gridengine; }

# True of a process that is no starter any more, but the job itself, on this host.
is_job() { ! tr '\0' '\n' <"/proc/$1/cmdline" | grep -q 'starter\.cjs$'; }
