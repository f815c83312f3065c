#!/usr/bin/env bash
# The chart on real nodes, with the image that this project builds: a game day through it, faults of an agent that it
# places, an upgrade and the uninstallation with a Run in force. Nothing is left in force, and at last nothing at all.
#
#   installed.sh DIR      a cluster of cluster.sh --real, with firedrill's images on its nodes (needs root)
#
# FIREDRILL=… is the program outside, else it is built (debug).
set -Eeuo pipefail
trap 'echo "installed: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
dir=${1:?usage: installed.sh DIR}
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
# shellcheck source=tests/real/chart-tools.sh
source "$here/chart-tools.sh"
chart=$here/../../charts/firedrill
BIN=$("$here/build.sh")
program=$(program)
tools=$(chart_tools)
work=$(mktemp -d)

finish() {
  local rc=$?
  trap - EXIT
  if ((rc != 0)); then
    kubectl get pods -A -o wide >&2 || true
    kubectl logs -n firedrill -l app.kubernetes.io/name=firedrill --prefix --tail=30 >&2 || true
    tail -n 40 "$work"/*.log >&2 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM

kubectl() { timeout 120 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }
helm() { KUBECONFIG=$dir/kubeconfig HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm timeout 300 "$tools/helm" "$@"; }
now() { date +%s%3N; }
line() { printf '%-66s %7s ms\n' "$1" "$2"; }

experiment() { # NAME STEP
  cat <<YAML
---
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: $1, namespace: installed}
spec:
  hypothesis: The shop heals by itself.
  steadyState:
  - name: ready
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}
    value: object.status.readyReplicas
    expect: value >= 4.0
    during: "true"
    every: 1s
  - name: scraped
    prometheus: {query: 'count(up)'}
    expect: value > 0.0
    every: 1s
  baseline: {duration: 2s}
  method:
  - $2
  objectives: {stableFor: 1s, recoverWithin: 1m}
  limits: {pods: 100%, duration: 10m}
YAML
}

objects() {
  cat <<'YAML'
apiVersion: v1
kind: Namespace
metadata: {name: installed}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: installed}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: docker.io/firedrill/demo-shop:1
        imagePullPolicy: Never
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
YAML
  experiment shrunk '{name: shrink, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 3s}'
  experiment killed '{name: kill, target: {workload: deployment/web, count: 2}, podKill: {gracePeriod: 0s}}'
  experiment slowed '{name: slow, target: {workload: deployment/web, count: all}, networkLatency: {delay: 100ms}, duration: 5s}'
  experiment long '{name: shrink, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 5m}'
  cat <<'YAML'
---
apiVersion: firedrill.dev/v1alpha1
kind: GameDay
metadata: {name: drill, namespace: installed}
spec:
  experiments:
  - {name: one, experimentRef: {name: shrunk}}
  - {name: two, experimentRef: {name: killed}}
  - {name: three, experimentRef: {name: slowed}}
YAML
}

# A Run of `long`, in force.
in_force() {
  run=$(kubectl create -n installed -o name -f - <<<'{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: long-}, spec: {experimentRef: {name: long}}}')
  kubectl wait -n installed deployment/web --for=jsonpath='{.status.readyReplicas}'=1 --timeout=60s >/dev/null
}

back() { # VERDICT AND REASON
  [[ $(kubectl get deployment web -n installed -o 'jsonpath={.spec.replicas}') == 4 ]]
  [[ $(kubectl get -n installed "$run" -o 'jsonpath={.status.verdict} {.status.reason}') == "$1" ]]
  [[ -z $(kubectl get -n installed "$run" -o 'jsonpath={.metadata.finalizers}') ]]
  kubectl rollout status -n installed deployment/web --timeout=60s >/dev/null
}

# What of it is there, of whichever kind and in whichever namespace: nothing but the red button is to stay, since the
# command line holds to it too. Then claims of Runs, and what keeps a Run from being deleted.
left() {
  kubectl get "$(kubectl api-resources --verbs=list -o name | grep -Ev '^events|metrics\.k8s\.io$' | paste -sd,)" -A \
    -l app.kubernetes.io/name=firedrill -o json 2>/dev/null |
    jq -r '.items[] | "\(.kind)/\(.metadata.namespace // "")/\(.metadata.name)"'
  kubectl get leases -A -o name | grep -E '/(run-|firedrill$)' || true
  kubectl get runs -A -o json | jq -r '.items[].metadata.finalizers // [] | .[]'
}

kubectl create namespace firedrill >/dev/null
kubectl label namespace firedrill pod-security.kubernetes.io/enforce=restricted >/dev/null
begun=$(now)
values=(--set 'prometheus=service/monitoring/prometheus:9090,monitoring.enabled=true,agents.enabled=true,agents.namespace=installed-agents')
nodes=(--set 'nodeFaults.accounts={installed:firedrill}')
helm install firedrill "$chart" -n firedrill --wait --timeout 90s "${values[@]}" >"$work/install.log"
line 'installed: two replicas at work' $(($(now) - begun))
helm test firedrill -n firedrill >"$work/test.log"
objects | kubectl apply --server-side -f - >/dev/null
kubectl rollout status -n installed deployment/web --timeout=60s >/dev/null
firedrill allow installed --fault scale --fault podKill --fault networkLatency 2>"$work/allow.log"
# Metrics are read as the account that the run acts as.
kubectl create role metrics -n monitoring --verb=get --resource=services/proxy >/dev/null
kubectl create rolebinding metrics -n monitoring --role=metrics --serviceaccount=installed:firedrill >/dev/null

sleep 3 # until it is scraped

begun=$(now)
firedrill run --controller gameday/drill -n installed >"$work/day.log" 2>&1 || { cat "$work/day.log" >&2; exit 1; }
line 'a game day of three, one with agents: Passed' $(($(now) - begun))
[[ -z $(kubectl get pods -n installed-agents -o name) ]]
kubectl rollout status -n installed deployment/web --timeout=60s >/dev/null

# Faults of nodes come with an upgrade that has a Run in force; agents go with one and come with the next.
in_force
begun=$(now)
helm upgrade firedrill "$chart" -n firedrill --wait --timeout 120s "${values[@]}" "${nodes[@]}" --set log=debug >"$work/upgrade.log"
line 'upgraded with a Run in force' $(($(now) - begun))
kubectl wait -n installed "$run" --for=jsonpath='{.status.phase}'=Finished --timeout=60s >/dev/null
back 'Aborted Signal'
kubectl get validatingadmissionpolicy/node-undo.firedrill.dev clusterrole/firedrill:undo-nodes >/dev/null
helm upgrade firedrill "$chart" -n firedrill --wait --timeout 120s "${values[@]}" --set agents.enabled=false >"$work/upgrade.log"
kubectl wait --for=delete namespace/installed-agents --timeout=60s >/dev/null
kubectl wait --for=delete clusterrole/firedrill:undo-nodes --timeout=60s >/dev/null
helm upgrade firedrill "$chart" -n firedrill --wait --timeout 120s "${values[@]}" "${nodes[@]}" >"$work/upgrade.log"
kubectl get namespace/installed-agents >/dev/null

in_force
begun=$(now)
helm uninstall firedrill -n firedrill --wait --timeout 180s >"$work/uninstall.log"
line 'uninstalled with a Run in force' $(($(now) - begun))
back 'Aborted Halted'
kubectl wait --for=delete namespace/installed-agents --timeout=60s >/dev/null
for ((tries = 60; tries > 0; tries--)); do [[ $(left) != Guardrail//halt ]] || break && sleep 1; done
[[ $(left) == Guardrail//halt ]] || { echo "installed: left are $(left)" >&2; exit 1; }
kubectl delete namespace installed firedrill --wait=true >/dev/null
kubectl delete role,rolebinding metrics -n monitoring >/dev/null
echo 'uninstalled: nothing of it is left'
