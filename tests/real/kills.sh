#!/usr/bin/env bash
# Kills `firedrill run` with SIGKILL at random moments of real runs, rolls back, and
# compares the cluster with before: nodes' spec, labels and annotations, Deployments'
# replicas. Every third time the rollback starts from an empty state directory, so
# that it has nothing but the scars. Prints a table; exits 1 on any difference.
#
# With SIGNALS=1 it is SIGINT and SIGTERM in turn, which the run has to answer by putting
# everything back itself: nothing is rolled back then, and it may exit as aborted or as
# the run would have ended, and not with residue.
#
#   kills.sh [N]       default 30
#
# SEED=… repeats the moments; FIREDRILL=… is the program, else it is built (debug).
set -Eeuo pipefail
trap 'echo "kills: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
rounds=${1:-30}
[[ $rounds =~ ^[0-9]+$ ]] || { sed -n '2,/^set -e/{/^set -e/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
work=$(mktemp -d)
dir=$work/cluster
# The span of a run in which it is killed, in ms: from before its first call to after its last.
span=${SPAN:-14000}

say() { echo "kills: $*" >&2; }

runner=''
finish() {
  local rc=$?
  trap - EXIT
  [[ -z $runner ]] || kill -KILL "$runner" 2>/dev/null || true
  "$here/cluster.sh" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}

kubectl() { timeout 120 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }

# A Deployment that is scaled, one that is drained and killed, a budget.
workload() {
  cat <<'YAML'
apiVersion: v1
kind: Namespace
metadata: {name: kills, labels: {firedrill.dev/allowed: "true"}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: kills}
spec: {maxUnavailable: 3, selector: {matchLabels: {app: web}}}
YAML
  local app
  for app in web side; do
    cat <<YAML
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: $app, namespace: kills}
spec:
  replicas: $([[ $app == web ]] && echo 24 || echo 6)
  selector: {matchLabels: {app: $app}}
  template:
    metadata: {labels: {app: $app}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: app:1}]}
YAML
  done
}

experiment() {
  cat <<'YAML'
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: kills, namespace: kills}
spec:
  hypothesis: Whenever the runner dies, everything can be put back.
  steadyState:
  - name: ready
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}
    value: object.status.readyReplicas
    expect: value >= 0
    every: 1s
  baseline: {duration: 1s}
  method:
  - name: shrink
    target: {workload: deployment/side}
    scale: {replicas: 2}
    duration: 1m
    background: true
  - name: drain
    target: {nodes: {matchLabels: {pool: general}}, count: 2}
    nodeDrain: {}
    duration: 3s
  - name: kill
    target: {workload: deployment/web, count: 50%}
    podKill: {gracePeriod: 0s}
  - wait: 2s
  - name: again
    target: {nodes: {matchLabels: {pool: general}}, count: 1}
    nodeDrain: {}
    duration: 2s
  objectives: {stableFor: 1s, recoverWithin: 1m}
  limits: {pods: 100%, nodes: 60%, duration: 10m}
YAML
}

state() {
  kubectl get nodes -o json | jq -S '.items[] | {name: .metadata.name, spec, labels: .metadata.labels, annotations: .metadata.annotations}'
  kubectl get deployments -n kills -o json | jq -S '.items[] | {name: .metadata.name, replicas: .spec.replicas}'
}

ready() {
  kubectl rollout status -n kills deployment/web --timeout=90s >/dev/null
  kubectl rollout status -n kills deployment/side --timeout=90s >/dev/null
}

last_record() { # STATE: what the run had written last
  local journal=''
  [[ ! -d $1 ]] || journal=$(find "$1" -name journal -type f | head -n 1)
  if [[ -n $journal ]]; then
    grep -ao '"type":"[A-Za-z]*"' "$journal" | tail -n 1 | cut -d'"' -f4
  else
    echo "(nothing)"
  fi
}

# The lease of a run whose journal was lost outlives it by 15 s; then a rollback gives it back.
freed() {
  local deadline=$((SECONDS + 40))
  while kubectl get lease firedrill -n kills >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { say "the lease of a dead run is never given back"; exit 1; }
    sleep 2
    firedrill --state "$work/nothing" rollback --yes >/dev/null 2>&1 || true
  done
}

signal_of() { # NUMBER
  if [[ -z ${SIGNALS-} ]]; then echo KILL; elif (($1 % 2)); then echo INT; else echo TERM; fi
}

# The run was told to stop: it puts everything back before it ends, within its own time.
answered() { # NUMBER MS STATE
  local result=same rc=0 deadline=$((SECONDS + 120)) begun
  while kill -0 "$runner" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.2; done
  if kill -KILL "$runner" 2>/dev/null; then result="still running after 120 s"; fi
  wait "$runner" 2>/dev/null || rc=$?
  runner=''
  begun=$(last_record "$3")
  case $rc in
    # A signal before the program has begun to listen ends it as any other: nothing was written by then.
    130 | 143) [[ $begun == "(nothing)" ]] || result="died of the signal" ;;
    0 | 4 | 5) ;;
    *) [[ $result != same ]] || result="exit code $rc" ;;
  esac
  as_before || result=DIFFERENT
  if kubectl get lease firedrill -n kills >/dev/null 2>&1; then result="its lease is left"; fi
  printf '%4d  %6d ms  exit %-3s  %-16s  %-7s  %s\n' "$1" "$2" "$rc" "$begun" "$(signal_of "$1")" "$result"
  if [[ $result != same ]]; then
    bad=$((bad + 1))
    cat "$work/run.log" >&2
    diff "$work/before" "$work/after" >&2 || true
    [[ $result != DIFFERENT ]] || exit 1
  fi
}

round() { # NUMBER
  local number=$1 after state=$work/state-$1 source=journal result=same rc=0 last
  after=$((RANDOM * span / 32768))
  freed
  ready
  # The program itself, not a shell around it: it is what has to die.
  KUBECONFIG=$dir/kubeconfig "$program" --state "$state" run "$work/experiment.yaml" --yes --seed "$number" \
    >"$work/run.log" 2>&1 &
  runner=$!
  sleep "$(printf '%d.%03d' $((after / 1000)) $((after % 1000)))"
  # By its id only: the shell has not waited for it, so the id is still its own.
  kill -"$(signal_of "$number")" "$runner" 2>/dev/null || true
  if [[ -n ${SIGNALS-} ]]; then
    answered "$number" "$after" "$state"
    return
  fi
  wait "$runner" 2>/dev/null || rc=$?
  runner=''
  last=$(last_record "$state")
  if ((number % 3 == 0)); then
    source=scars
    mv "$state" "$state.lost" 2>/dev/null || true
    mkdir -p "$state"
  fi
  if ! firedrill --state "$state" rollback --take-over --yes >"$work/rollback.log" 2>&1; then
    result="rollback failed"
  fi
  as_before || result=DIFFERENT
  printf '%4d  %6d ms  exit %-3s  %-16s  %-7s  %s\n' "$number" "$after" "$rc" "$last" "$source" "$result"
  if [[ $result != same ]]; then
    bad=$((bad + 1))
    cat "$work/run.log" "$work/rollback.log" >&2
    diff "$work/before" "$work/after" >&2 || true
    [[ $result != DIFFERENT ]] || exit 1
  fi
  # A run that was refused has shown nothing.
  if grep -q '^refused' "$work/run.log"; then
    cat "$work/run.log" >&2
    exit 1
  fi
}

trap finish EXIT
trap 'exit 130' INT TERM
BIN=$("$here/build.sh")
program=$(program)
# Three nodes a zone: two that are drained are never all of one.
"$here/cluster.sh" up --dir "$dir" --nodes 9 >/dev/null
workload | kubectl apply -f - >/dev/null
experiment >"$work/experiment.yaml"
ready
state >"$work/before"
seed=$((seed % 32768))
RANDOM=$seed
say "SEED=$seed, $rounds rounds"
echo "   N  killed at  runner     last record       by       state"
bad=0
for ((number = 1; number <= rounds; number++)); do round "$number"; done
echo "$rounds kills, $bad not as before"
((bad == 0))
