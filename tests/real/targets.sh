#!/usr/bin/env bash
# Keeps Prometheus' list of pods to scrape: Debian's Prometheus is built without
# the discovery of pods, so this watches them and writes what it would have found.
#
#   targets.sh KUBECTL KUBECONFIG OUT.json
set -euo pipefail

kubectl=$1 kubeconfig=$2 out=$3

# One line for each event: the whole list as it is after it. Kwok's pods are
# left out, since nobody answers at their addresses.
# shellcheck disable=SC2016 # jq's variables
follow='
def target: .metadata as $m | .spec.nodeName as $node | .status.podIP as $ip
  | [.spec.containers[].ports[]? | select(.name == "http") | .containerPort][0] as $port
  | select($ip and $port and .status.phase == "Running" and ($node | startswith("kwok-") | not))
  | {targets: ["\($ip):\($port)"], labels: {namespace: $m.namespace, pod: $m.name, node: $node}};
foreach inputs as $event ({};
  if $event.type == "DELETED" then del(.[$event.object.metadata.uid])
  elif $event.object.kind == "Pod" then .[$event.object.metadata.uid] = [$event.object | target]
  else . end;
  [.[][]])'

while :; do
  # A watch from nothing begins with what is there; the server ends it some time.
  "$kubectl" --kubeconfig "$kubeconfig" get --raw '/api/v1/pods?watch=true' |
    jq -n -c --unbuffered "$follow" |
    while read -r list; do
      echo "$list" >"$out.part"
      mv "$out.part" "$out"
    done || true
  sleep 1
done
