#!/usr/bin/env bash
# The chart on a real control plane with kwok's nodes: linted, every set of values as the API server's own schemas have
# it (kubeconform) and taken by it, what refers to something found (chart.jq), installed; a namespace opted in, a Run made
# with kubectl by somebody who may, refused to somebody who may not; the red button pressed by on call, which no upgrade
# takes back; drained and uninstalled, and nothing left but that button. kwok runs no program in pods, so the controller
# and its drain run here, with the token of the chart's account and so with its rights; a Prometheus scrapes it as an
# account that may, and knows what each panel of the dashboard asks for. Exits 1 on any difference.
#
#   chart.sh
#
# FIREDRILL=… is the program, else it is built (debug). Helm and kubeconform are built from gochart/ into the cache, once.
# Debian's Prometheus is installed if it is missing, without its service. Needs curl, jq, openssl.
set -Eeuo pipefail
trap 'echo "chart: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
# shellcheck source=tests/real/lib.sh
source "$here/lib.sh"
# shellcheck source=tests/real/chart-tools.sh
source "$here/chart-tools.sh"
chart=$here/../../charts/firedrill
work=$(mktemp -d)
dir=$work/cluster
controller='' prometheus=''
# Where the definitions of the Prometheus operator's kinds come from: what the chart writes has to fit into them.
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0

finish() {
  local rc=$?
  trap - EXIT
  for pid in $controller $prometheus; do kill -KILL "$pid" 2>/dev/null || true; done
  ((rc == 0)) || tail -n 30 "$work"/*.log >&2 2>/dev/null || true
  "$here/cluster.sh" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}

kubectl() { timeout 90 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }
helm() { KUBECONFIG=$dir/kubeconfig HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm "$helm" "$@"; }

# The chart's objects without a look at the cluster, for a version of Kubernetes that it takes.
rendered() { helm template firedrill "$chart" -n firedrill --kube-version 1.36.0 "$@"; }

# A JSON schema for each kind in FILE as this API server publishes it, ours among them; nothing else is allowed in it.
# What has no group kubeconform calls by its version.
schemas() { # FILE
  local kinds name
  kinds=$(sed -n 's/^kind: //p' "$1" | sort -u | jq -Rsc 'split("\n") | map(select(. != ""))')
  mkdir -p "$work/schemas"
  [[ -s $work/openapi.json ]] || kubectl get --raw /openapi/v2 | jq -c '
    .definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {} |
    .definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {} |
    .definitions | walk(if type == "object" and has("properties") and (has("additionalProperties") | not)
      and (.["x-kubernetes-preserve-unknown-fields"] | not) then .additionalProperties = false else . end)' >"$work/openapi.json"
  while IFS=$'\t' read -r name definition; do
    jq -c --arg is "#/definitions/$definition" '{"$ref": $is, definitions: .}' "$work/openapi.json" >"$work/schemas/$name.json"
  done < <(jq -r --argjson kinds "$kinds" 'to_entries[] | .key as $definition |
    .value["x-kubernetes-group-version-kind"][]? | select(.kind as $kind | $kinds | index($kind)) |
    "\(.kind | ascii_downcase)-\(if .group == "" then .version else .group end)-\(.version)\t\($definition)"' "$work/openapi.json")
}

# Every object of FILE is what the API server says that such an object is.
conforms() { # FILE
  schemas "$1"
  # shellcheck disable=SC2016 # kubeconform's variables
  "$tools/kubeconform" -strict -summary -output json \
    -schema-location "$work/schemas/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json" "$1" >"$work/conform.json" ||
    { jq -c '.resources[]?' "$work/conform.json" >&2; return 1; }
  jq -e '.summary | .valid > 10 and .invalid + .errors + .skipped == 0' "$work/conform.json" >/dev/null
}

# The kinds of the Prometheus operator, and no operator.
operator_kinds() {
  local source kind
  source=$(cd "$work" && go mod download -json "$operator" | jq -r .Dir)
  for kind in servicemonitors prometheusrules; do
    kubectl apply --server-side -f "$source/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" >/dev/null
    kubectl wait --for=condition=Established --timeout=30s "crd/$kind.monitoring.coreos.com" >/dev/null
  done
}

# Everything of ours that there is, of whichever kind, in whichever namespace.
ours() {
  kubectl get "$(kubectl api-resources --verbs=list -o name | grep -v '^events' | paste -sd,)" -A \
    -l app.kubernetes.io/name=firedrill -o json | jq -r '.items[] | "\(.kind)/\(.metadata.namespace // "")/\(.metadata.name)"'
}
only_the_button_is_left() { [[ $(ours) == Guardrail//halt ]]; }

# With everything switched on, each kind is there by name, and what refers to something finds it.
wired() {
  helm template firedrill "$chart" -n firedrill --validate \
    --set 'monitoring.enabled=true,monitoring.accounts={monitoring:prometheus},monitoring.serviceMonitor.enabled=true' \
    --set 'monitoring.alerts.enabled=true,monitoring.dashboard.enabled=true' \
    --set 'otlp.endpoint=http://collector.observability:4318,otlp.headersSecret.name=collector' \
    --set 'networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8' >"$work/wired.yaml"
  kubectl create --dry-run=client -o json -f "$work/wired.yaml" |
    jq -s '[.[] | if .kind == "List" then .items[] else . end]' >"$work/wired.json"
  jq -f "$here/chart.jq" --argjson egress '[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]' \
    --argjson alerts "$(sed -n 's/^  - alert: //p' "$chart/alerts/firedrill.yaml" | jq -Rsc 'split("\n") | map(select(. != ""))')" \
    --argjson dashboard "$(cat "$chart/dashboards/firedrill.json")" "$work/wired.json" >"$work/wrong.json"
  jq -e '. == []' "$work/wrong.json" >/dev/null || { cat "$work/wrong.json" >&2; return 1; }
  # What nobody has asked for is not there.
  rendered --set replicas=1 >"$work/wired.yaml"
  if grep -E '^kind: (PodDisruptionBudget|Service|ServiceMonitor|PrometheusRule|ConfigMap)$' "$work/wired.yaml" >&2; then return 1; fi
  echo 'wired: services, budgets, policies and monitors find the replicas, and nothing else'
}

# Another chart may depend on it: Helm gives it what that one says to all of its charts.
depended_on() {
  mkdir -p "$work/parent/charts"
  cp -r "$chart" "$work/parent/charts/firedrill"
  cat >"$work/parent/Chart.yaml" <<'YAML'
apiVersion: v2
name: parent
version: 1.0.0
dependencies: [{name: firedrill, version: "*"}]
YAML
  echo '{global: {team: shop}, firedrill: {replicas: 3}}' >"$work/parent/values.yaml"
  chart=$work/parent rendered >"$work/parent.yaml"
  grep -qx '  replicas: 3' "$work/parent.yaml"
  echo 'depended on: by a chart with values for all of its charts'
}

# Where the controller's port is, as it says itself.
port_of() { # LOG
  wait_for 10 'the port of metrics' grep -q 'metrics and probes are answered' "$1"
  jq -r 'select(.message == "metrics and probes are answered").address' "$1"
}

# Asks the controller's port, as an account or as nobody: prints the status, and keeps the answer.
ask() { # PATH [NAMESPACE ACCOUNT]
  local as=()
  (($# == 1)) || as=(-H "Authorization: Bearer $(kubectl create token "$3" -n "$2")")
  curl -sk --noproxy '*' --max-time 5 -o "$work/answer" -w '%{http_code}' "${as[@]}" "https://$address$1"
}

# A Prometheus that scrapes the controller as the account that the chart has bound.
scrape() {
  local port
  port=$(free_port "$dir")
  kubectl create token prometheus -n monitoring --duration=1h >"$work/token"
  cat >"$work/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}
rule_files: [$(realpath "$chart")/alerts/firedrill.yaml]
scrape_configs:
- job_name: firedrill
  scheme: https
  honor_labels: true
  tls_config: {insecure_skip_verify: true}
  authorization: {credentials_file: $work/token}
  static_configs: [{targets: ["$address"]}]
YAML
  prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/prometheus" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn >"$work/prometheus.log" 2>&1 &
  prometheus=$!
  source=http://127.0.0.1:$port
  wait_for 30 'a scrape' known 'up{job="firedrill"} == 1'
}

query() { curl -sf --noproxy '*' --max-time 5 --data-urlencode "query=$1" "$source/api/v1/query"; }
# Whether an answer has a number in it.
known() { query "$1" | jq -e '[.data.result[].value[1] | select(. != "NaN")] | length > 0'; }

# A game day of ada's, held: its Run in $run.
day() { # NAME EXPERIMENT
  kubectl apply --as ada -f - >/dev/null <<<"{apiVersion: firedrill.dev/v1alpha1, kind: GameDay, metadata: {name: $1, namespace: shop}, spec: {experiments: [{name: one, experimentRef: {name: $2}}], cadence: 90d}}"
  run=$(kubectl create --as ada -o name -f - <<<"{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: $1-, namespace: shop}, spec: {gameDayRef: {name: $1}}}")
  kubectl wait --for=jsonpath='{.status.phase}'=Finished --timeout=60s -n shop "$run" >/dev/null
}

# A game day that fails is an alert that fires, with words for whoever is woken.
woken() {
  day bad strict
  [[ $(kubectl get -n shop "$run" -o 'jsonpath={.status.verdict}') == Failed ]]
  wait_for 20 'the alert of a game day that failed' \
    known 'ALERTS{alertname="FiredrillGameDayFailed", alertstate="firing", namespace="shop", name="bad", verdict="Failed"}'
  curl -sf --noproxy '*' "$source/api/v1/alerts" >"$work/alerts.json"
  jq -e '[.data.alerts[] | select(.state == "firing")] | length == 1 and (.[0].annotations | .summary and .resolution)' "$work/alerts.json" >/dev/null ||
    { jq . "$work/alerts.json" >&2; return 1; }
  echo 'alerted: a game day that fails fires its alert, and no other'
}

# Every panel has something to show, and every alert can be evaluated and is quiet.
panels() {
  local title expr count=0
  while IFS=$'\t' read -r title expr; do
    # shellcheck disable=SC2016 # Grafana's variables
    expr=${expr//'$__rate_interval'/1m}
    # shellcheck disable=SC2016
    known "${expr//'$__range'/10m}" >/dev/null || { echo "nothing to show in $title: $expr" >&2; return 1; }
    count=$((count + 1))
  done < <(jq -r '.panels[] | .title as $title | .targets[] | "\($title)\t\(.expr)"' "$chart/dashboards/firedrill.json")
  ((count > 10))
  curl -sf --noproxy '*' "$source/api/v1/rules" >"$work/rules.json"
  jq -e '[.data.groups[].rules[]] | length > 5 and all(.health == "ok" and .state == "inactive")' "$work/rules.json" >/dev/null ||
    { jq . "$work/rules.json" >&2; return 1; }
  echo "watched: $count queries of the dashboard have data, every alert is quiet"
}

# A kubeconfig at $work/NAME with the token of that account of shop's and nothing else.
token_of() { # ACCOUNT
  kubectl create serviceaccount "$1" -n shop >/dev/null
  sed "s/^    token: .*/    token: $(kubectl create token "$1" -n shop)/" "$work/account" >"$work/$1"
}

halted() { kubectl get guardrail halt -o 'jsonpath={.spec.halt} {.spec.haltReason}'; }

upgrade() { # VALUES...
  helm upgrade firedrill "$chart" -n firedrill --wait --timeout 60s \
    --set 'monitoring.enabled=true,monitoring.accounts={monitoring:prometheus}' "$@" >/dev/null
}

# On call holds one role, and presses with it; nothing that is done with the release takes it back.
pressed() {
  token_of oncall
  local oncall=(kubectl --kubeconfig "$work/oncall")
  kubectl create clusterrolebinding on-call --clusterrole=firedrill:halt --serviceaccount=shop:oncall >/dev/null
  # One that somebody has pressed before there was a chart, and one that somebody has deleted.
  [[ $(halted) == 'true before the chart '* ]]
  KUBECONFIG=$work/oncall "$program" unhalt 2>>"$work/oncall.log"
  kubectl delete guardrail halt >/dev/null
  upgrade
  [[ $(halted) == ' ' && $(kubectl get guardrail halt -o 'jsonpath={.metadata.annotations.meta\.helm\.sh/release-name}') == firedrill ]]
  "${oncall[@]}" patch guardrail halt --type=merge -p '{"spec":{"halt":true,"haltReason":"by kubectl"}}' >/dev/null
  upgrade --set log=debug
  [[ $(halted) == 'true by kubectl' ]]
  helm rollback firedrill -n firedrill --wait --timeout 60s >/dev/null
  [[ $(halted) == 'true by kubectl' ]]
  firedrill controller manifests | kubectl apply --server-side --force-conflicts -f - >/dev/null
  [[ $(halted) == 'true by kubectl' ]]
  KUBECONFIG=$work/oncall "$program" unhalt 2>>"$work/oncall.log"
  KUBECONFIG=$work/oncall "$program" halt --reason 'incident 42' 2>>"$work/oncall.log"
  sleep 1
  if kubectl --as ada create -f "$work/run.yaml" >"$work/halt.log" 2>&1; then echo "a halt does not hold" >&2 && exit 1; fi
  grep -q 'halted by Guardrail halt: incident 42' "$work/halt.log"
  if "${oncall[@]}" patch guardrail firedrill-drain --type=merge -p '{"spec":{"halt":true}}' >/dev/null 2>&1; then
    echo "on call may press another one" >&2 && exit 1
  fi
  # Where it is gone altogether, the same role makes it.
  kubectl delete guardrail halt >/dev/null
  KUBECONFIG=$work/oncall "$program" halt 2>>"$work/oncall.log"
  [[ $(halted) == true* ]]
  KUBECONFIG=$work/oncall "$program" unhalt 2>>"$work/oncall.log"
  echo 'halted: by on call with one role, the API server refuses the next Run, and no upgrade takes it back'
}

# What is switched on and off again comes and goes.
switched() {
  kubectl wait --for=delete namespace/firedrill-agents --timeout=60s >/dev/null
  upgrade --set 'agents.enabled=true,nodeFaults.accounts={ops:breaker}'
  kubectl get namespace/firedrill-agents validatingadmissionpolicy/node-scars.firedrill.dev clusterrole/firedrill:undo-nodes >/dev/null
  kubectl get role/firedrill:agents rolebinding/firedrill:agents -n firedrill-agents >/dev/null
  upgrade
  kubectl wait --for=delete namespace/firedrill-agents --timeout=60s >/dev/null
  ours >"$work/ours"
  if grep -E 'agents|node-(scars|undo)|undo-nodes|firedrill:nodes' "$work/ours" >&2; then return 1; fi
  upgrade --set 'agents.enabled=true,nodeFaults.accounts={ops:breaker}'
  echo 'upgraded: agents and faults of nodes come and go'
}

# Journals are read with the role for them, and without it they are not.
read_by_people() {
  token_of reader
  kubectl create clusterrolebinding reader --clusterrole=firedrill:view --serviceaccount=shop:reader >/dev/null
  local as=(env "KUBECONFIG=$work/reader" "$program" runs --controller --state "$work/none")
  if "${as[@]}" >"$work/reader.log" 2>&1; then echo "journals are open to everybody" >&2 && exit 1; fi
  kubectl create rolebinding journals -n firedrill --role=firedrill:journals --serviceaccount=shop:reader >/dev/null
  "${as[@]}" | grep -q Passed
  echo 'read: journals, by whoever is bound to the role for them'
}

# The drain before the deletion, with the rights of the chart's account: what waits ends, and from then on nobody is let in.
drained() {
  run=$(kubectl create --as ada -o name -f - <<<'{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: later-, namespace: shop}, spec: {experimentRef: {name: trial}, startTime: "2099-01-01T00:00:00Z"}}')
  KUBECONFIG=$work/account "$program" controller drain --controller-namespace firedrill 2>"$work/drain.log"
  grep -q 'until firedrill unhalt --guardrail firedrill-drain' "$work/drain.log"
  [[ $(kubectl get -n shop "$run" -o 'jsonpath={.status.verdict} {.status.reason}') == 'Aborted UserAbort' ]]
  if kubectl --as ada create -f "$work/run.yaml" >"$work/drained.log" 2>&1; then echo "a drain lets a Run in" >&2 && exit 1; fi
  grep -q 'halted by Guardrail firedrill-drain: the controller is being taken away' "$work/drained.log"
  # Once more, as after an uninstallation that has failed.
  KUBECONFIG=$work/account "$program" controller drain --controller-namespace firedrill 2>"$work/drain.log"
  echo 'drained: what waits is ended, and nothing begins from then on'
}

trap finish EXIT
trap 'exit 130' INT TERM
command -v prometheus >/dev/null || apt_install prometheus
BIN=$("$here/build.sh")
program=$(program)
tools=$(chart_tools)
helm=$tools/helm
"$here/cluster.sh" up --dir "$dir" --nodes 2 >/dev/null

helm lint --quiet "$chart"
kubectl create namespace firedrill >/dev/null
define
operator_kinds
for file in "$here"/../../experiments/*.yaml "$here"/../../experiments/*/*.yaml; do echo --- && cat "$file"; done >"$work/kinds.yaml"
conforms "$work/kinds.yaml"
echo "as the API server's schemas have it: $(jq .summary.valid "$work/conform.json") objects of experiments/"
promtool check rules "$chart/alerts/firedrill.yaml" >"$work/promtool.log"
kubectl create namespace monitoring >/dev/null
kubectl create serviceaccount prometheus -n monitoring >/dev/null
sets=(
  ''
  '--set monitoring.enabled=true,monitoring.accounts={monitoring:prometheus},monitoring.serviceMonitor.enabled=true,monitoring.alerts.enabled=true,monitoring.dashboard.enabled=true'
  '--set monitoring.enabled=true,monitoring.serviceMonitor.enabled=true,monitoring.serviceMonitor.tokenSecret.name=scraper,monitoring.serviceMonitor.labels.release=kps,monitoring.alerts.enabled=true,monitoring.alerts.labels.release=kps,monitoring.certificateSecret=tls,monitoring.serviceMonitor.tlsConfig.serverName=firedrill'
  '--set replicas=1,prometheus=service/monitoring/prometheus:9090,log=debug,priorityClassName=system-cluster-critical,otlp.endpoint=http://collector.observability:4318'
  '--set nodeFaults.accounts={ops:breaker,ops:other},image.pullSecrets={mirror},networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8'
  '--set agents.enabled=true,agents.users={ada,bo@example.com},agents.pullSecret=mirror'
  '--set monitoring.enabled=true,networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8'
)
# A dry run makes no namespace for what is to be in it, and Helm takes none that is not its own.
kubectl create namespace firedrill-agents >/dev/null
kubectl label namespace firedrill-agents app.kubernetes.io/managed-by=Helm >/dev/null
kubectl annotate namespace firedrill-agents meta.helm.sh/release-name=firedrill meta.helm.sh/release-namespace=firedrill >/dev/null
for set in "${sets[@]}"; do
  # shellcheck disable=SC2086
  helm template firedrill "$chart" -n firedrill --validate --skip-tests $set >"$work/objects.yaml"
  conforms "$work/objects.yaml"
  kubectl apply --server-side --dry-run=server -f "$work/objects.yaml" >"$work/dry.log"
  echo "taken by the API server: $(wc -l <"$work/dry.log") objects with ${set:-the usual values}"
done
kubectl delete namespace firedrill-agents --wait=false >/dev/null
if rendered --set replica=3 >"$work/none.log" 2>&1; then echo "a value that is none is taken" >&2 && exit 1; fi
grep -q "additional properties 'replica' not allowed" "$work/none.log"
wired
depended_on

kubectl label namespace firedrill pod-security.kubernetes.io/enforce=restricted >/dev/null
firedrill halt --reason 'before the chart' 2>/dev/null
helm install firedrill "$chart" -n firedrill --wait --timeout 60s \
  --set 'monitoring.enabled=true,monitoring.accounts={monitoring:prometheus}' >/dev/null
echo "installed: $(kubectl get pods -n firedrill --no-headers | grep -c Running) replicas, Pod Security restricted"
slices=$(kubectl get endpointslices -n firedrill -l kubernetes.io/service-name=firedrill-metrics -o json)
jq -e '[.items[] | .ports[] as $port | .endpoints[] | "\($port.name) \($port.port)"] == ["metrics 8443", "metrics 8443"]' <<<"$slices" >/dev/null ||
  { jq -c '.items[] | [.ports, .endpoints]' <<<"$slices" >&2; exit 1; }
kubectl apply -f "$here/chart.yaml" >/dev/null
kubectl rollout status -n shop deployment/web --timeout=60s >/dev/null
firedrill allow shop 2>"$work/allow.log"
# The form that says what may be done meanwhile, where the server has it and the chart's role is there.
acts=$(kubectl get role firedrill:controller:firedrill -n shop -o jsonpath='{.rules[*].verbs[*]}')
[[ $acts == impersonate:serviceaccount ]] || { echo "the controller may $acts" >&2 && exit 1; }
for role in edit firedrill:experiment; do
  kubectl create rolebinding "ada-$role" -n shop --clusterrole="$role" --user=ada >/dev/null
done
kubectl create rolebinding ben -n shop --clusterrole=firedrill:experiment --user=ben >/dev/null
sleep 3 # a policy takes a moment until it holds
if kubectl --as ben apply -f "$here/chart-experiment.yaml" >"$work/ben.log" 2>&1; then echo "ben may write it" >&2 && exit 1; fi
grep -q 'may not use (impersonate)' "$work/ben.log"
kubectl --as ada apply -f "$here/chart-experiment.yaml" >/dev/null

# Somebody who may do all that in another namespace may do nothing here.
kubectl create namespace other >/dev/null
kubectl create rolebinding carl -n other --clusterrole=firedrill:experiment --user=carl >/dev/null

account
echo '{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: trial-, namespace: shop}, spec: {experimentRef: {name: trial}}}' >"$work/run.yaml"
pressed
switched
KUBECONFIG=$work/account POD_NAME=outside "$program" controller --controller-namespace firedrill \
  --metrics-address 127.0.0.1:0 >"$work/controller.log" 2>&1 &
controller=$!
address=$(port_of "$work/controller.log")
scrape
run=$(kubectl create --as ada -o name -f "$work/run.yaml")
kubectl wait --for=condition=Succeeded --timeout=60s -n shop "$run" >/dev/null
[[ $(kubectl get -n shop "$run" -o 'jsonpath={.status.verdict} {.spec.requestedBy}') == 'Passed ada' ]]
[[ $(kubectl get deployment web -n shop -o 'jsonpath={.spec.replicas}') == 4 ]]
for verb in get patch delete; do
  [[ $(kubectl auth can-i "$verb" "runs/${run#*/}" -n shop --as carl || true) == no ]]
done
for change in '{"spec":{"abort":true}}' '{"spec":{"approvals":[{"by":"carl","hash":"x"}]}}'; do
  if kubectl --as carl patch -n shop "$run" --type merge -p "$change" >"$work/carl.log" 2>&1; then echo "carl may change it" >&2 && exit 1; fi
done
# What the chart's own test does in a pod.
KUBECONFIG=$work/account "$program" runs --controller --state "$work/none" --controller-namespace firedrill | grep -q Passed
echo "a Run made by kubectl: Passed, requested by ada, with the chart's rights and no others"
# One that loses what is normal has the other clocks too.
sed 's/name: trial,/name: strict,/; s/during: "true"/during: value >= 4.0/' "$here/chart-experiment.yaml" | kubectl --as ada apply -f - >/dev/null
run=$(kubectl create --as ada -o name -f - <<<'{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: strict-, namespace: shop}, spec: {experimentRef: {name: strict}}}')
kubectl wait --for=jsonpath='{.status.phase}'=Finished --timeout=60s -n shop "$run" >/dev/null
[[ $(kubectl get -n shop "$run" -o 'jsonpath={.status.verdict}') == Failed ]]
[[ $(ask /healthz) == 200 && $(ask /readyz) == 200 && $(ask /metrics) == 401 && $(ask /metrics shop default) == 403 ]]
[[ $(ask /metrics monitoring prometheus) == 200 ]]
promtool check metrics <"$work/answer" >&2
for line in 'firedrill_runs_total{verdict="Passed"} 1' 'firedrill_runs_total{verdict="Failed"} 1' \
  'firedrill_changes_in_force 0' 'firedrill_residue 0' 'firedrill_run_rto_seconds_count 2' 'firedrill_run_abort_seconds_count 1'; do
  grep -qxF "$line" "$work/answer" || { echo "not told: $line" >&2; cat "$work/answer" >&2; exit 1; }
done
echo "metrics: told to Prometheus' account, and neither to strangers nor to an account of shop's"
day good trial
[[ $(kubectl get -n shop "$run" -o 'jsonpath={.status.verdict}') == Passed ]]
sleep 3 # two scrapes and more
panels
woken
kill -KILL "$prometheus"
wait "$prometheus" 2>/dev/null || true
prometheus=''
if grep -i forbidden "$work/controller.log" >&2; then exit 1; fi
[[ $(jq -c 'select(.target == "firedrill::controller::work" and .span.run == null)' "$work/controller.log") == '' ]]
read_by_people
drained
kill -TERM "$controller"
wait "$controller"
controller=''

helm uninstall firedrill -n firedrill --wait >/dev/null
wait_for 60 'all of it to go' only_the_button_is_left || { ours >&2; exit 1; }
[[ -z $(kubectl get leases -n firedrill -o name)$(kubectl get secrets -A -l owner=helm -o name) ]]
kubectl get runs -A -o json | jq -e '[.items[].metadata.finalizers // [] | .[]] == []' >/dev/null
kubectl get namespace/firedrill-agents >/dev/null 2>&1 && exit 1
kubectl delete namespace firedrill shop other monitoring --wait=true >/dev/null
kubectl delete crd experiments.firedrill.dev gamedays.firedrill.dev guardrails.firedrill.dev runs.firedrill.dev >/dev/null
wait_for 30 'the button to go' eval '[[ -z $(ours) ]]' || { ours >&2; exit 1; }
echo 'uninstalled: nothing of it is left'
