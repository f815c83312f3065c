#!/usr/bin/env bash
# The cluster's DNS, as far as the bench needs one: keeps a file of the Services' names and addresses, which dnsmasq
# answers from.
#
#   names.sh KUBECTL KUBECONFIG DIR
set -euo pipefail

kubectl=$1 kubeconfig=$2 dir=$3

# One line for each event: the whole file as it is after it.
# shellcheck disable=SC2016 # jq's variables
follow='
foreach inputs as $event ({};
  if $event.type == "DELETED" then del(.[$event.object.metadata.uid])
  elif $event.object.kind == "Service" then .[$event.object.metadata.uid] = $event.object
  else . end;
  [.[] | .metadata as $m | .spec.clusterIP | select(. and . != "None" and . != "")
    | "\(.) \($m.name).\($m.namespace).svc.cluster.local"])'

while :; do
  # A watch from nothing begins with what is there; the server ends it some time.
  "$kubectl" --kubeconfig "$kubeconfig" get --raw '/api/v1/services?watch=true' |
    jq -n -c --unbuffered "$follow" |
    while read -r list; do
      jq -r '.[]' <<<"$list" >"$dir/names.part"
      mv "$dir/names.part" "$dir/names/services"
    done || true
  sleep 1
done
