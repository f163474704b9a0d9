#!/bin/bash
# A Grid Engine of one node, of Debian's packages, with all that it writes in $BASE. Needs root; no other of this machine sees it.
#   gridengine.sh up | down
#   gridengine.sh exec CMD...   CMD as root where it runs
#   gridengine.sh as CMD...     CMD as its user $OWNER, in $BASE/home
# Its daemons listen on every address and insist that host names resolve both ways, so it has network, host name and mounts of its own. The file
# system is everybody's: unix sockets and files work across, ports do not. The user is one of the machine's, with a shell to log in there.
# $QUEUES names its queues, as NAME=SHELL_START_MODE words.
# $BIND names more of the machine's files to be seen elsewhere there, as FROM:TO words: the way to what is closed to other users.
set -eu
: "${BASE:?}"
OWNER=${OWNER:-games} NODE=bait0
export SGE_ROOT=$BASE/root SGE_CELL=default SGE_QMASTER_PORT=16444 SGE_EXECD_PORT=16445 SGE_ARCH=lx-amd64
LIB=/usr/lib/gridengine CELL=$BASE/root/default

running() { [ -s "$1" ] && [ -e "/proc/$(cat "$1")" ]; }
inside() { nsenter -t "$(<"$BASE/holder.pid")" -n -u -m -r --wdns="${IN:-$BASE}" -- env PATH="$LIB:$PATH" "$@"; }
daemon() { inside env -i PATH="$LIB:/usr/sbin:/usr/bin:/sbin:/bin" SGE_ROOT="$SGE_ROOT" SGE_CELL="$SGE_CELL" SGE_QMASTER_PORT="$SGE_QMASTER_PORT" SGE_EXECD_PORT="$SGE_EXECD_PORT" "$@" </dev/null >>"$BASE/daemons.log" 2>&1; }
as() {
  local uid gid folder
  IFS=: read -r _ _ uid gid _ folder _ <<<"$(getent passwd "$OWNER")"
  IN=$BASE/home inside setpriv --reuid="$uid" --regid="$gid" --init-groups \
    env -i PATH="$LIB:/usr/bin:/bin" HOME="$folder" USER="$OWNER" LOGNAME="$OWNER" SHELL=/bin/bash SGE_ROOT="$SGE_ROOT" SGE_CELL="$SGE_CELL" \
    SGE_QMASTER_PORT="$SGE_QMASTER_PORT" SGE_EXECD_PORT="$SGE_EXECD_PORT" SGE_ARCH="$SGE_ARCH" "$@"
}
wait_for() { for _ in $(seq 100); do "$@" && return; sleep .1; done; echo "never: $*" >&2; cat "$BASE"/*.log "$BASE"/spool/*/messages "$BASE"/spool/execd/$NODE/messages >&2 || :; return 1; }

hold_namespaces() {
  printf '127.0.0.1 %s localhost\n' "$NODE" >"$BASE/hosts"
  sed "s#^\($OWNER:.*:\)[^:]*#\1/bin/bash#" /etc/passwd >"$BASE/passwd"
  setsid unshare -n -u -m --propagation private sh -euc '
    ip link set lo up; hostname "$1"; mount --bind "$2/hosts" /etc/hosts; mount --bind "$2/passwd" /etc/passwd
    for pair in $3; do [ -d "${pair%%:*}" ] && mkdir -p "${pair#*:}" || : >>"${pair#*:}"; mount --bind "${pair%%:*}" "${pair#*:}"; done
    echo $$ >"$2/holder.pid"; exec sleep infinity' sh "$NODE" "$BASE" "${BIND:-}" </dev/null >"$BASE/holder.log" 2>&1 &
  disown
  wait_for running "$BASE/holder.pid"
}

write_cell() {
  mkdir -p "$CELL/common" "$BASE/spool/qmaster/job_scripts" "$BASE/spool/execd" "$BASE/spool/db" "$BASE/home"
  chown "$OWNER:" "$BASE/home"
  for folder in bin lib utilbin; do mkdir -p "$SGE_ROOT/$folder"; ln -sfn "$LIB" "$SGE_ROOT/$folder/$SGE_ARCH"; done
  ln -sfn /usr/share/gridengine/util "$SGE_ROOT/util"
  cat >"$CELL/common/bootstrap" <<B
Version: 6.2
admin_user              none
default_domain          none
ignore_fqdn             true
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         $BASE/spool/db
binary_path             $SGE_ROOT/bin
qmaster_spool_dir       $BASE/spool/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
B
  echo "$NODE" >"$CELL/common/act_qmaster"
  echo wnod >"$CELL/common/cluster_name"
  # What is not named here is as it is packaged.
  sed -e "s#^execd_spool_dir .*#execd_spool_dir $BASE/spool/execd#" -e 's/^load_report_time .*/load_report_time 00:00:01/' \
    -e 's/^max_unheard .*/max_unheard 00:00:30/' -e 's#^mailer .*#mailer /bin/true#' -e 's/^administrator_mail .*/administrator_mail none/' \
    -e 's/flush_time=00:00:15/flush_time=00:00:01 accounting_flush_time=00:00:01/' -e 's/^gid_range .*/gid_range 50700-50899/' -e 's/^min_\([ug]id\) .*/min_\1 0/' \
    /usr/share/gridengine/default-configuration >"$BASE/global.conf"
  inside sh -ec '
    spoolinit berkeleydb libspoolb "$1/spool/db" init
    spooldefaults configuration "$1/global.conf"
    spooldefaults complexes /usr/share/gridengine/util/resources/centry
    spooldefaults usersets /usr/share/gridengine/util/resources/usersets
    spooldefaults managers root' sh "$BASE" >"$BASE/init.log" 2>&1
}

# queue NAME START_MODE: every attribute must be there, queue_conf(5)
queue() {
  printf '%s\n' "qname $1" "hostlist $NODE" 'seq_no 0' 'load_thresholds NONE' 'suspend_thresholds NONE' 'nsuspend 1' 'suspend_interval 00:05:00' 'priority 0' \
    'min_cpu_interval 00:05:00' 'processors UNDEFINED' 'qtype BATCH INTERACTIVE' 'ckpt_list NONE' 'pe_list NONE' 'rerun FALSE' 'slots 16' 'tmpdir /tmp' 'shell /bin/bash' \
    'prolog NONE' 'epilog NONE' "shell_start_mode $2" 'starter_method NONE' 'suspend_method NONE' 'resume_method NONE' 'terminate_method NONE' 'notify 00:00:02' \
    'owner_list NONE' 'user_lists NONE' 'xuser_lists NONE' 'subordinate_list NONE' 'complex_values NONE' 'projects NONE' 'xprojects NONE' 'calendar NONE' \
    'initial_state default'
  for limit in rt cpu fsize data stack core rss vmem; do printf 's_%s INFINITY\nh_%s INFINITY\n' "$limit" "$limit"; done
}

answers() { inside qconf -sh >/dev/null 2>&1; }
reports() { inside qhost -h "$NODE" 2>/dev/null | awk -v n="$NODE" '$1==n && $7!="-" {f=1} END {exit !f}'; }

up() {
  mkdir -p "$BASE"
  chmod 755 "$BASE"
  hold_namespaces
  write_cell
  daemon sge_qmaster
  wait_for answers
  inside qconf -ah "$NODE" >/dev/null 2>&1 || : # it may have made itself one
  inside qconf -as "$NODE" >/dev/null
  inside qconf -ssconf | sed 's/^schedule_interval .*/schedule_interval 0:0:1/; s/^flush_submit_sec .*/flush_submit_sec 1/; s/^flush_finish_sec .*/flush_finish_sec 1/' >"$BASE/sched.conf"
  inside qconf -Msconf "$BASE/sched.conf" >/dev/null
  daemon sge_execd
  for each in ${QUEUES:-all.q=unix_behavior}; do
    queue "${each%=*}" "${each#*=}" >"$BASE/queue.conf"
    inside qconf -Aq "$BASE/queue.conf" >/dev/null
  done
  wait_for reports
}

# Whatever lives in the namespace, daemons, shepherds and jobs, ends with it.
down() {
  running "$BASE/holder.pid" || return 0
  local net pid
  net=$(readlink "/proc/$(cat "$BASE/holder.pid")/ns/net") || return 0 # it has ended, and all with it
  for _ in 1 2 3; do
    for pid in /proc/[0-9]*; do [ "$(readlink "$pid/ns/net" 2>/dev/null)" != "$net" ] || kill -9 "${pid#/proc/}" 2>/dev/null || :; done
  done
}

case ${1:-} in
  up) up ;;
  down) down ;;
  exec) shift; inside "$@" ;;
  as) shift; as "$@" ;;
  *) echo "usage: $0 up|down|exec CMD|as CMD" >&2; exit 2 ;;
esac
