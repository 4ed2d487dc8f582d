#!/bin/bash
# slurm_down.sh DIR: ends what slurm_up.sh has started there.
for name in slurmd slurmctld munged; do
  [ -f "$1/$name.pid" ] && kill "$(cat "$1/$name.pid")"
done
for _ in $(seq 50); do
  alive=0
  for name in slurmd slurmctld munged; do
    [ -f "$1/$name.pid" ] && kill -0 "$(cat "$1/$name.pid")" 2> /dev/null && alive=1
  done
  [ $alive = 0 ] && exit 0
  sleep 0.1
done
exit 1
