#!/bin/bash
# cut_off.sh WORKER FOLDER TIMEOUT_S, in a network namespace of its own: runs two workers in two namespaces joined by a
# cable and pulls it after they have met. Their stderr goes to FOLDER/RANK, their statuses to FOLDER/status.
set -e
worker=$1 folder=$2 timeout=$3
unshare -n sleep 60 &
other=$!
trap 'kill $other' EXIT
while [ "$(readlink /proc/$other/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
there() { nsenter -n -t $other "$@"; }
ip link add cable0 type veth peer name cable1 netns $other
ip link set lo up
ip address add 10.99.0.1/24 dev cable0
ip link set cable0 up
there ip link set lo up
there ip address add 10.99.0.2/24 dev cable1
there ip link set cable1 up
export MASTER_ADDR=10.99.0.1 MASTER_PORT=23123 WORLD_SIZE=2 OMP_NUM_THREADS=1
RANK=0 GLOO_SOCKET_IFNAME=cable0 "$worker" loop "$timeout" 2> "$folder/0" &
first=$!
RANK=1 GLOO_SOCKET_IFNAME=cable1 there "$worker" loop "$timeout" 2> "$folder/1" &
second=$!
sleep 2
ip link set cable0 down
set +e
wait $first; status=$?
wait $second
echo "$status $?" > "$folder/status"
