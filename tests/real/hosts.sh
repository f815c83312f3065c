#!/usr/bin/env bash
# A peer that is the name of a host, on real nodes, through a real DNS server: resolved where firedrill runs, slowed
# from inside of the pods, and followed when the name comes to mean another address.
#
#   hosts.sh DIR          a cluster of cluster.sh --real, with the agent's image on its nodes (needs root)
#
# FIREDRILL=… is the program, else it is built (debug).
set -Eeuo pipefail
trap 'echo "hosts: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
dir=${1:?usage: hosts.sh DIR}
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
BIN=$("$here/build.sh")
program=$(program)
net=10.$((200 + $(cat "$dir/slot")))
work=$(mktemp -d)
started=()

finish() {
  local rc=$?
  trap - EXIT
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -f "$dir/names/outside"
  kubectl delete namespace hosts --wait=false >/dev/null 2>&1 || true
  ((rc == 0)) || tail -n 40 "$work"/*.log >&2 || true
  rm -rf "$work"
  exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM

kubectl() { timeout 60 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }
ip() { kubectl get pods -n hosts -l "app=$1" -o 'jsonpath={.items[0].status.podIP}'; }

# Milliseconds that a connection from the first pod of `web` to an address takes.
took() { # ADDRESS
  nsenter --target "$inside" --net curl --silent --output /dev/null --max-time 5 --write-out '%{time_connect}' \
    "http://$1:8080/healthz" | awk '{printf "%d\n", $1 * 1000}'
}

# Waits until connections to an address are slow, or are quick.
until_is() { # SECONDS slow|quick ADDRESS
  local deadline=$((SECONDS + $1)) ms
  while :; do
    ms=$(took "$3")
    if [[ $2 == slow ]]; then ((ms < 150)) || break; else ((ms >= 100)) || break; fi
    ((SECONDS < deadline)) || { echo "hosts: $3 is not $2 after $1 s: $ms ms" >&2; return 1; }
    sleep 0.2
  done
  printf '%-58s %7s ms\n' "$4" "$ms"
}

means() { echo "$1 db.outside.test" >"$work/name" && mv "$work/name" "$dir/names/outside"; }

workload() { # NAME
  cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: $1, namespace: hosts}
spec:
  selector: {matchLabels: {app: $1}}
  template:
    metadata: {labels: {app: $1}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: app, image: docker.io/firedrill/demo-shop:1, imagePullPolicy: Never, readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}
---
YAML
}

kubectl create namespace hosts >/dev/null
kubectl label namespace hosts firedrill.dev/allowed=true >/dev/null
kubectl get namespace firedrill-agents >/dev/null 2>&1 || firedrill agents manifests | kubectl apply -f - >/dev/null
for name in web db other; do workload "$name"; done | kubectl apply -f - >/dev/null
for name in web db other; do kubectl rollout status -n hosts "deployment/$name" --timeout=60s >/dev/null; done
uid=$(kubectl get pods -n hosts -l app=web -o 'jsonpath={.items[0].metadata.uid}')
inside=
for process in /proc/[0-9]*; do
  if grep -qE "${uid//-/[-_]}" "$process/cgroup" 2>/dev/null; then inside=${process#/proc/} && break; fi
done
[[ -n $inside ]] || { echo "hosts: no process of the pod is seen from here" >&2; exit 1; }
db=$(ip db) other=$(ip other)
means "$db"
cat >"$work/experiment.yaml" <<YAML
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: slow-host, namespace: hosts}
spec:
  hypothesis: The pods stay ready.
  steadyState:
  - name: ready
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}
    value: object.status.readyReplicas
    expect: value >= 1.0
    every: 1s
  baseline: {duration: 2s}
  method:
  - name: slow
    target: {workload: deployment/web, count: all}
    networkLatency: {to: [{host: db.outside.test}], delay: 200ms}
    duration: 40s
  limits: {pods: 100%, degradedPods: 100%}
YAML
# Everybody asks the server of the bench, and nobody else does.
echo "nameserver $net.0.1" >"$work/resolv.conf"
: >"$work/hosts"
# shellcheck disable=SC2016 # expanded within
KUBECONFIG=$dir/kubeconfig unshare --mount sh -c 'mount --bind "$1/resolv.conf" /etc/resolv.conf && mount --bind "$1/hosts" /etc/hosts &&
  exec "$2" run "$1/experiment.yaml" --yes --seed 7' - "$work" "$program" >"$work/run.log" 2>&1 &
run=$!
started+=("$run")
until_is 60 slow "$db" 'a host by name, slowed by 200 ms: a connection takes'
until_is 2 quick "$other" 'another address meanwhile'
means "$other"
until_is 20 slow "$other" 'the name means another address: a connection there takes'
until_is 20 quick "$db" 'and to the former one'
wait "$run" || { echo "hosts: the run did not pass" >&2; exit 1; }
until_is 2 quick "$other" 'afterwards'
