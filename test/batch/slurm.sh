#!/bin/bash
# One node of Slurm with its controller and munge, for tests: everything is in the folder $BASE, and on loopback alone. As root.
#   BASE=DIR CTLD_PORT=N NODE_PORT=N slurm.sh up|down
# $BASE/etc/plugstack.conf is what `wnod install slurm` changes; the node pretends to have more processors than there are, so that cases
# run side by side.
set -eu
etc=$BASE/etc log=$BASE/log run=$BASE/run
export SLURM_CONF=$etc/slurm.conf
PATH=/usr/sbin:/usr/bin:/sbin:/bin

write_settings() {
  mkdir -p "$etc" "$log" "$run" "$BASE/plugins" "$BASE/state" "$BASE/spool" "$BASE/munge"
  chmod 755 "$BASE" "$etc" "$log" "$run" "$BASE/state" "$BASE/spool" "$BASE/munge"
  [ -s "$BASE/munge/key" ] || head -c 128 /dev/urandom >"$BASE/munge/key"
  chmod 400 "$BASE/munge/key"
  echo '# plugins of the site' >"$etc/plugstack.conf"
  # Read even where nothing is constrained; without it slurmd stops at a mixed cgroup mount.
  printf '%s\n' CgroupPlugin=cgroup/v1 CgroupAutomount=no ConstrainCores=no ConstrainRAMSpace=no >"$etc/cgroup.conf"
  cat >"$SLURM_CONF" <<END
ClusterName=wnod
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$BASE/munge/socket
CredType=cred/munge
SlurmctldPort=$CTLD_PORT
SlurmdPort=$NODE_PORT
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$BASE/state
SlurmdSpoolDir=$BASE/spool/%n
SlurmctldPidFile=$run/slurmctld.pid
SlurmdPidFile=$run/slurmd-%n.pid
SlurmctldLogFile=$log/slurmctld.log
SlurmdLogFile=$log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$log/jobcomp.txt
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
MinJobAge=600
SlurmdTimeout=60
InactiveLimit=0
PropagateResourceLimitsExcept=MEMLOCK
PluginDir=$BASE/plugins:$(echo /usr/lib/*/slurm-wlm)
PlugStackConfig=$etc/plugstack.conf
SlurmdParameters=config_overrides
GresTypes=vm_debian12
NodeName=bait0 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$NODE_PORT CPUs=16 RealMemory=4096 Gres=vm_debian12:64 State=UNKNOWN
PartitionName=bait Nodes=bait0 Default=YES MaxTime=INFINITE State=UP
PartitionName=bare Nodes=bait0 MaxTime=INFINITE State=UP
END
}

# A process that has ended and that nobody has waited for is gone.
lives() { [ -e "/proc/$1/status" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

stop() {
  [ -s "$1" ] || return 0
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || :
  for _ in $(seq 100); do lives "$pid" || return 0; sleep .1; done
  kill -9 "$pid" 2>/dev/null || :
}

up() {
  write_settings
  munged --force --socket="$BASE/munge/socket" --key-file="$BASE/munge/key" --pid-file="$BASE/munge/pid" --log-file="$BASE/munge/log" --seed-file="$BASE/munge/seed" --num-threads=2
  slurmctld -f "$SLURM_CONF"
  env -i PATH="$PATH" slurmd -f "$SLURM_CONF" -N bait0 # its environment is what its hooks inherit
  for _ in $(seq 100); do
    case $(sinfo -h -p bait -o %t 2>/dev/null) in idle|mix) return 0 ;; esac
    sleep .2
  done
  echo 'the node did not become idle:' >&2
  tail -n 20 "$log"/*.log >&2
  return 1
}

# Jobs that nobody has ended, and the daemon of each, which lives in the folder that slurmd was in. They outlive slurmd.
of_jobs() {
  {
    grep -lzsx "SLURM_CONF=$SLURM_CONF" $(grep -lzs '^SLURM_JOB_ID=' /proc/[0-9]*/environ) /dev/null
    find /proc/[0-9]*/cwd -maxdepth 0 -lname "$log"
  } 2>/dev/null | cut -d / -f 3
}

down() {
  stop "$run/slurmd-bait0.pid"
  stop "$run/slurmctld.pid"
  for _ in $(seq 50); do
    left=$(of_jobs)
    [ -n "$left" ] || break
    kill -9 $left 2>/dev/null || :
    sleep .1
  done
  stop "$BASE/munge/pid"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
