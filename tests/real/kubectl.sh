#!/usr/bin/env bash
# The embedded cluster on a loopback port, used with the real kubectl as a person would, and drained by
# `firedrill run` as if it were a real one.
#
#   tests/real/kubectl.sh [FIREDRILL]      default: the debug binary, built first
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

bin=$(tests/real/build.sh)
export PATH=$bin:$PATH
if [[ $# -gt 0 ]]; then
  firedrill=$1
else
  cargo build --quiet --locked
  firedrill=${CARGO_TARGET_DIR:-target}/debug/firedrill
fi
dir=$(mktemp -d)
"$firedrill" sim serve --manifests experiments/demo --write-kubeconfig "$dir/kubeconfig" >"$dir/out" 2>"$dir/err" &
server=$!
finish() {
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT
for _ in $(seq 100); do [[ -s $dir/kubeconfig ]] && break; sleep 0.1; done
export KUBECONFIG=$dir/kubeconfig FIREDRILL_STATE=$dir/state

fail() {
  echo "FAILED: $*" >&2
  cat "$dir/err" >&2
  exit 1
}
# Runs kubectl and wants WORDS in what it says.
wants() { # WORDS KUBECTL-ARGUMENTS…
  local words=$1 said
  shift
  said=$(timeout 60 kubectl "$@" 2>&1) || fail "kubectl $*: $said"
  grep -q -- "$words" <<<"$said" || fail "kubectl $*: no \"$words\" in: $said"
  echo "ok  kubectl $*"
}

[[ $(stat -c %a "$dir/kubeconfig") == 600 ]] || fail "the kubeconfig can be read by others"
wants 'successfully rolled out' -n shop rollout status deployment/checkout --timeout=60s
wants 'node-a1 *Ready' get nodes
wants '4/4' -n shop get deployment checkout
wants 'checkout-' -n shop get pods -o wide
wants 'Replicas:.*4 desired' -n shop describe deployment checkout
wants 'Unschedulable: *false' describe node node-a1
wants 'unchanged\|configured' apply -f experiments/demo/shop.yaml
wants 'scaled' -n shop scale deployment/checkout --replicas=6
wants 'successfully rolled out' -n shop rollout status deployment/checkout --timeout=60s
wants 'condition met' -n shop wait --for=condition=Available deployment/checkout --timeout=60s
wants 'scaled' -n shop scale deployment/checkout --replicas=4
said=$(kubectl create namespace made 2>&1) && fail "kubectl create: $said"
grep -q 'dry-run=client -o yaml | kubectl apply -f -' <<<"$said" || fail "kubectl create: $said"
kubectl create namespace made --dry-run=client -o yaml | kubectl apply -f - >/dev/null || fail "the remedy for kubectl create"
wants 'made *Active' get namespace made
wants 'cordoned' cordon node-a1
wants 'SchedulingDisabled' get node node-a1
wants 'drained' drain node-a1 --ignore-daemonsets --delete-emptydir-data --timeout=60s
wants 'uncordoned' uncordon node-a1
pod=$(kubectl -n shop get pods -l app=checkout -o jsonpath='{.items[0].metadata.name}')
wants 'deleted' -n shop delete pod "$pod"
wants 'successfully rolled out' -n shop rollout status deployment/checkout --timeout=60s

cat >"$dir/drain.yaml" <<'YAML'
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: drain, namespace: shop}
spec:
  hypothesis: A node can go.
  steadyState:
  - name: replicas
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}
    value: object.status.readyReplicas
    expect: object.status.readyReplicas == object.spec.replicas
    during: value >= 1
    every: 1s
    for: 2s
  method:
  - name: drain
    target: {nodesRunning: deployment/checkout, count: 1}
    nodeDrain: {}
    duration: 5s
  limits: {pods: 100%, nodes: 50%}
YAML
timeout 120 "$firedrill" run "$dir/drain.yaml" --seed 1 >"$dir/run" 2>&1 || { cat "$dir/run"; fail "firedrill run"; }
grep -q 'HypothesisHeld' "$dir/run" || fail "firedrill run did not pass"
echo "ok  firedrill run"
wants 'node-a1' get nodes
if kubectl get nodes -o yaml | grep -q 'firedrill.dev\|unschedulable: true'; then fail "something is left on a node"; fi
echo "kubectl.sh: everything works"
