#!/usr/bin/env bash
# Kills the controller's replica with SIGKILL at random moments of four Runs that it has, one of a game day and one of
# faults of nodes among them, and lets another one take them up. Afterwards all objects that are nobody's record, with
# their labels and annotations, and every lease are as before, and every Run is over. Prints a line for each Run; exits 1
# on any difference.
#
#   replicas.sh [N]    N Runs that are killed, four at a time; default 200
#
# SEED=… repeats the moments; FIREDRILL=… is the program, else it is built (debug). The replicas have the rights that
# `firedrill controller manifests` prints, and no others.
set -Eeuo pipefail
trap 'echo "replicas: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
runs=${1:-200}
[[ $runs =~ ^[0-9]+$ ]] || { sed -n '2,/^set -E/{/^set -E/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
seed=$((${SEED:-RANDOM * 32768 + RANDOM} % 32768))
spaces=(one two three four)
work=$(mktemp -d)
dir=$work/cluster
# The span in which its replica is killed, in ms: from before a Run is claimed to after its last record.
span=${SPAN:-13000}
replica='' number=0 killed=0 bad=0

say() { echo "replicas: $*" >&2; }

finish() {
  local rc=$?
  trap - EXIT
  [[ -z $replica ]] || kill -KILL "$replica" 2>/dev/null || true
  "$here/cluster.sh" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}

kubectl() { timeout 320 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }

start() { # a replica, its pid in $replica
  number=$((number + 1))
  KUBECONFIG=$work/account POD_NAME=replica-$number "$program" controller >"$work/replica-$number.log" 2>&1 &
  replica=$!
}

# A namespace with a Deployment that is scaled, one that is killed and evicted.
namespace() { # NAME
  local app
  echo "{apiVersion: v1, kind: Namespace, metadata: {name: $1}}"
  for app in web side; do
    cat <<YAML
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: $app, namespace: $1}
spec:
  replicas: 6
  selector: {matchLabels: {app: $app}}
  template:
    metadata: {labels: {app: $app}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: app:1}]}
YAML
  done
  cat <<YAML
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: $1}
spec: {maxUnavailable: 3, selector: {matchLabels: {app: web}}}
YAML
}

# An experiment of a namespace; what it breaks is read.
experiment() { # NAME NAMESPACE
  cat <<YAML
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: $1, namespace: $2}
spec:
  hypothesis: Whenever its replica dies, everything is put back.
  steadyState:
  - name: ready
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}
    value: object.status.readyReplicas
    expect: value >= 0.0
    every: 1s
  baseline: {duration: 1s}
  objectives: {stableFor: 1s, recoverWithin: 1m}
  limits: {pods: 100%, nodes: 70%, duration: 10m}
  method:
$(cat)
YAML
}

of_workloads() {
  cat <<'YAML'
  - name: shrink
    target: {workload: deployment/side}
    scale: {replicas: 2}
    duration: 1m
    background: true
  - name: kill
    target: {workload: deployment/web, count: 50%}
    podKill: {gracePeriod: 0s}
  - wait: 2s
  - name: evict
    target: {workload: deployment/web, count: 50%}
    podEvict: {}
  - wait: 1s
  - name: grow
    target: {workload: deployment/web}
    scale: {replicas: 8}
    duration: 3s
YAML
}

of_nodes() {
  cat <<'YAML'
  - name: close
    target: {nodes: {matchLabels: {pool: general}}, count: 2}
    nodeCordon: {}
    duration: 1m
    background: true
  - name: taint
    target: {nodes: {matchLabels: {pool: general}}, count: 2}
    nodeTaint: {taint: {key: example.com/drill, value: "yes", effect: NoSchedule}}
    duration: 3s
  - name: more
    target: {nodes: {matchLabels: {pool: general}}, count: 1}
    nodeTaint: {taint: {key: example.com/more, effect: PreferNoSchedule}}
    duration: 3s
YAML
}

game_day() { # NAMESPACE
  echo "{apiVersion: firedrill.dev/v1alpha1, kind: GameDay, metadata: {name: day, namespace: $1},
    spec: {experiments: [{name: first, experimentRef: {name: kills}}, {name: second, experimentRef: {name: kills}}]}}"
}

# As docs/installation.md says it.
nodes_opened() {
  local role
  kubectl create namespace four >/dev/null
  kubectl label namespace four firedrill.dev/node-faults=true >/dev/null
  kubectl label nodes --all firedrill.dev/allowed=true >/dev/null
  for role in nodes fault:nodeCordon fault:nodeTaint; do
    kubectl create clusterrolebinding "drills-${role//:/-}" --clusterrole="firedrill:$role" --serviceaccount=four:firedrill >/dev/null
  done
}

state() {
  kubectl get nodes,namespaces,deployments,poddisruptionbudgets,configmaps,serviceaccounts,roles,rolebindings -A -o json |
    jq -S '.items[] | select(.metadata.namespace != "firedrill") | del(.status, .metadata.resourceVersion,
      .metadata.generation, .metadata.managedFields)'
  # Those of replicas stay until others find them lapsed.
  kubectl get leases -A -o name | grep -E '/(run-|firedrill$)' || true
}

whole() {
  local space app
  for space in "${spaces[@]}"; do
    for app in web side; do kubectl rollout status -n "$space" "deployment/$app" --timeout=60s >/dev/null; done
  done
}

round() {
  local space after died took result verdict changed what
  after=$((RANDOM * span / 32768))
  for space in "${spaces[@]}"; do
    what='experimentRef: {name: kills}'
    [[ $space != three ]] || what='gameDayRef: {name: day}'
    kubectl create -n "$space" -f - >/dev/null \
      <<<"{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {name: round-$number}, spec: {$what, requestedBy: admin, seed: $number}}"
  done
  sleep "$(printf '%d.%03d' $((after / 1000)) $((after % 1000)))"
  died=$replica
  start
  kill -KILL "$died"
  wait "$died" 2>/dev/null || true
  local begun=$SECONDS name=round-$((number - 1))
  for space in "${spaces[@]}"; do
    result=same
    # One that had not begun when its replica died is begun, and has its whole course before it.
    kubectl wait -n "$space" "run/$name" --for=jsonpath='{.status.phase}'=Finished --timeout=300s >/dev/null || result='not over'
    verdict=$(kubectl get -n "$space" "run/$name" -o 'jsonpath={.status.verdict} {.status.reason}')
    changed=$(kubectl get -n "$space" "run/$name" -o 'jsonpath={.status.targets.reverted}')
    took=$((SECONDS - begun))
    [[ $verdict != Refused* ]] || result=refused
    printf '%4d  %6d ms  %-26s  %9d  %3d s  %s\n' "$((++killed))" "$after" "$verdict" "$((changed))" "$took" "$result"
    [[ $result == same ]] || bad=$((bad + 1))
  done
  if ! as_before; then
    bad=$((bad + 1))
    diff "$work/before" "$work/after" >&2 || true
    tail -n 30 "$work"/replica-*.log >&2
    exit 1
  fi
  whole
}

trap finish EXIT
trap 'exit 130' INT TERM
BIN=$("$here/build.sh")
program=$(program)
"$here/cluster.sh" up --dir "$dir" --nodes 6 >/dev/null
define
kubectl create namespace firedrill >/dev/null
firedrill controller manifests --node-account four:firedrill | kubectl apply --server-side -f - >/dev/null
kubectl create serviceaccount firedrill -n firedrill >/dev/null
account
nodes_opened
for space in "${spaces[@]}"; do
  namespace "$space" | kubectl apply --server-side --force-conflicts -f - >/dev/null
  firedrill allow "$space" 2>>"$work/allow.log"
  of=of_workloads
  [[ $space != four ]] || of=of_nodes
  $of | experiment kills "$space" >"$work/experiment.yaml"
  kubectl apply --server-side -f "$work/experiment.yaml" >/dev/null
done
game_day three | kubectl apply --server-side -f - >/dev/null
whole
state >"$work/before"
RANDOM=$seed
say "SEED=$seed, $runs Runs"
echo "   N  killed at  verdict                     put back   over  state"
start
while ((killed < runs)); do round; done
echo "$killed Runs killed, $bad not as they should be"
((bad == 0))
