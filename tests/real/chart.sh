#!/usr/bin/env bash
# The chart on a real control plane with kwok's nodes: linted, every set of values taken by the API server, installed;
# a namespace opted in, a Run made with kubectl by somebody who may, refused to somebody who may not; uninstalled, and
# nothing left. kwok runs no program in pods, so the controller runs here, with the token of the chart's account and so
# with its rights. Exits 1 on any difference.
#
#   chart.sh
#
# FIREDRILL=… is the program, else it is built (debug). Helm is built from gochart/ into the cache, once.
set -Eeuo pipefail
trap 'echo "chart: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
chart=$here/../../charts/firedrill
work=$(mktemp -d)
dir=$work/cluster
controller=''

finish() {
  local rc=$?
  trap - EXIT
  [[ -z $controller ]] || kill -KILL "$controller" 2>/dev/null || true
  ((rc == 0)) || tail -n 30 "$work"/*.log >&2 || true
  "$here/cluster.sh" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}

kubectl() { timeout 90 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }
helm() { KUBECONFIG=$dir/kubeconfig HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm "$helm" "$@"; }

build_helm() {
  local hash into
  hash=$(cat "$here/gochart/go.mod" "$here/gochart/go.sum" | sha256sum | cut -c1-12)
  into=${FIREDRILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/firedrill}/helm-$hash
  if [[ ! -x $into/helm ]]; then
    mkdir -p "$into"
    CGO_ENABLED=0 go build -C "$here/gochart" -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' \
      -o "$into/.helm.part" helm.sh/helm/v3/cmd/helm
    mv "$into/.helm.part" "$into/helm"
  fi
  echo "$into/helm"
}

# Everything of ours that is not in a namespace.
ours() {
  kubectl get clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,mutatingadmissionpolicy,mutatingadmissionpolicybinding \
    -l app.kubernetes.io/name=firedrill -o name
}

# A kubeconfig with the chart's account and nothing else.
account() {
  local token
  token=$(kubectl create token firedrill -n firedrill)
  kubectl config view --raw --minify --flatten >"$work/account"
  "$BIN/kubectl" --kubeconfig "$work/account" config set-credentials account --token="$token" >/dev/null
  "$BIN/kubectl" --kubeconfig "$work/account" config set-context --current --user=account >/dev/null
}

trap finish EXIT
trap 'exit 130' INT TERM
BIN=$("$here/build.sh")
program=$(program)
helm=$(build_helm)
"$here/cluster.sh" up --dir "$dir" --nodes 2 >/dev/null

helm lint --quiet "$chart"
kubectl create namespace firedrill >/dev/null
firedrill crds | kubectl apply --server-side -f - >/dev/null
sleep 1 # without any condition kubectl wait gives up at once
kubectl wait --for=condition=Established --timeout=30s crd/guardrails.firedrill.dev >/dev/null
sets=(
  ''
  '--set replicas=1,prometheus=service/monitoring/prometheus:9090,log=debug,priorityClassName=system-cluster-critical'
  '--set nodeFaults.accounts={ops:breaker,ops:other},image.pullSecrets={mirror},networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8'
  '--set agents.enabled=true,agents.users={ada,bo@example.com},agents.pullSecret=mirror'
)
for set in "${sets[@]}"; do
  # shellcheck disable=SC2086
  helm template firedrill "$chart" -n firedrill --validate --skip-tests $set >"$work/objects.yaml"
  kubectl apply --server-side --dry-run=server -f "$work/objects.yaml" >"$work/dry.log"
  echo "taken by the API server: $(wc -l <"$work/dry.log") objects with ${set:-the usual values}"
done
if helm template firedrill "$chart" --set replica=3 >/dev/null 2>&1; then echo "a value that is none is taken" >&2 && exit 1; fi

kubectl label namespace firedrill pod-security.kubernetes.io/enforce=restricted >/dev/null
helm install firedrill "$chart" -n firedrill --wait --timeout 60s >/dev/null
echo "installed: $(kubectl get pods -n firedrill --no-headers | grep -c Running) replicas, Pod Security restricted"
kubectl apply -f "$here/chart.yaml" >/dev/null
kubectl rollout status -n shop deployment/web --timeout=60s >/dev/null
firedrill allow shop 2>"$work/allow.log"
for role in edit firedrill:experiment; do
  kubectl create rolebinding "ada-$role" -n shop --clusterrole="$role" --user=ada >/dev/null
done
kubectl create rolebinding ben -n shop --clusterrole=firedrill:experiment --user=ben >/dev/null
sleep 3 # a policy takes a moment until it holds
if kubectl --as ben apply -f "$here/chart-experiment.yaml" >"$work/ben.log" 2>&1; then echo "ben may write it" >&2 && exit 1; fi
grep -q 'may not use (impersonate)' "$work/ben.log"
kubectl --as ada apply -f "$here/chart-experiment.yaml" >/dev/null

account
KUBECONFIG=$work/account POD_NAME=outside "$program" controller --controller-namespace firedrill >"$work/controller.log" 2>&1 &
controller=$!
run=$(kubectl create --as ada -o name -f - <<<'{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: trial-, namespace: shop}, spec: {experimentRef: {name: trial}}}')
kubectl wait --for=condition=Succeeded --timeout=60s -n shop "$run" >/dev/null
[[ $(kubectl get -n shop "$run" -o 'jsonpath={.status.verdict} {.spec.requestedBy}') == 'Passed ada' ]]
[[ $(kubectl get deployment web -n shop -o 'jsonpath={.spec.replicas}') == 4 ]]
# What the chart's own test does in a pod.
KUBECONFIG=$work/account "$program" runs --controller --state "$work/none" --controller-namespace firedrill | grep -q Passed
if grep -i forbidden "$work/controller.log" >&2; then exit 1; fi
echo "a Run made by kubectl: Passed, requested by ada, with the chart's rights and no others"
firedrill halt --reason 'incident 42' 2>/dev/null
sleep 1
if kubectl --as ada create -f - <<<'{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: trial-, namespace: shop}, spec: {experimentRef: {name: trial}}}' >"$work/halt.log" 2>&1; then echo "a halt does not hold" >&2 && exit 1; fi
grep -q 'halted by Guardrail halt: incident 42' "$work/halt.log"
echo 'halted: the API server refuses the next Run'
kill -TERM "$controller"
wait "$controller"
controller=''

helm uninstall firedrill -n firedrill --wait >/dev/null
kubectl delete namespace firedrill shop --wait=true >/dev/null
kubectl delete crd experiments.firedrill.dev gamedays.firedrill.dev guardrails.firedrill.dev runs.firedrill.dev >/dev/null
[[ -z $(ours) ]]
echo 'uninstalled: nothing of it is left'
