#!/bin/bash
# slurm_up.sh DIR PORT: a Slurm of one node for a test, its state in DIR, slurmctld on PORT and slurmd on PORT + 1.
# Prints the path of its slurm.conf. Needs root, slurm-wlm and munge. slurm_down.sh DIR ends it.
set -e
dir=$1 port=$2 host=$(hostname -s)
mkdir -p "$dir"/{state,spool,log,munge,socket}
chmod 755 "$dir" "$dir/socket"
chmod 700 "$dir/munge"
head -c 1024 /dev/urandom > "$dir/munge/key"
chmod 400 "$dir/munge/key"
munged --force --key-file="$dir/munge/key" --socket="$dir/socket/s" --pid-file="$dir/munged.pid" \
  --log-file="$dir/log/munged" --seed-file="$dir/munge/seed"
# cred_expire: a job that is requeued may not begin before the credential of its first start has expired.
cat > "$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/socket/s,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=20
MailProg=/bin/true
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES State=UP PriorityTier=1 GraceTime=30
PartitionName=high Nodes=$host State=UP PriorityTier=10 PreemptMode=OFF
END
export SLURM_CONF=$dir/slurm.conf
slurmctld
slurmd
for _ in $(seq 100); do
  if sinfo -h -o %T 2> "$dir/log/sinfo" | grep -q idle; then
    echo "$SLURM_CONF"
    exit 0
  fi
  sleep 0.1
done
cat "$dir"/log/* >&2
exit 1
