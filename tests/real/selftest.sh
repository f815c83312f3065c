#!/usr/bin/env bash
# Proves the bench itself, in about a minute and a half: pods really die and the
# series really falls, a drain moves pods without a failure, and `down` leaves
# nothing, also after an `up` that was interrupted. Needs root.
set -Eeuo pipefail
trap 'echo "selftest: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cluster=$here/cluster.sh
demo=$here/../../experiments/demo/shop.yaml
work=$(mktemp -d)
dir=$work/cluster

say() { echo "selftest: $*" >&2; }
fail() {
  say "FAILED: $*"
  exit 1
}
finish() {
  local rc=$?
  "$cluster" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}

kubectl() { timeout 120 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }

# What is on this machine and could be left over.
leftovers() {
  ls /sys/class/net
  findmnt -rn -o TARGET
  find /sys/fs/cgroup -name 'firedrill-bench-*' 2>/dev/null
  ip route
  # Rules and chains of our own: the table itself, empty, is there from the first time that anybody looks.
  iptables-save -t nat 2>/dev/null | grep -E '^-A|^:[^ ]+ -' || true
  find /run/netns /var/lib/kubelet /var/lib/cni /run/containerd 2>/dev/null || true
  # Processes of a bench, by what only a bench's command lines have in them.
  local file
  for file in /proc/[0-9]*/cmdline; do
    { tr '\0' ' ' <"$file"; } 2>/dev/null | grep -oE '^[^ ]*/(kube[a-z-]+|kwok|etcd|containerd[a-z0-9-]*) .*' | grep -F "$work" || true
  done
}

query() { # PROMQL: its only value
  curl -sfG --noproxy '*' --max-time 5 "$PROMETHEUS/api/v1/query" --data-urlencode "query=$1" |
    jq -r '.data.result | if length == 1 then .[0].value[1] else "none" end'
}

availability() {
  query 'sum(rate(http_requests_total{app="checkout",code!~"5.."}[10s])) / sum(rate(http_requests_total{app="checkout"}[10s]))'
}

# until_value SECONDS CONDITION WHAT: waits for an availability $v for which awk's CONDITION holds.
until_value() {
  local deadline=$((SECONDS + $1)) value
  while value=$(availability) && ((SECONDS < deadline)); do
    if [[ $value != none && $value != NaN ]] && awk -v v="$value" "BEGIN {exit !($2)}"; then
      say "$3: availability $value"
      return
    fi
    sleep 0.5
  done
  fail "$3: availability is $value"
}

check_interrupted_up() {
  local pid
  say "an interrupted up"
  setsid "$cluster" up --real --dir "$dir" >"$work/interrupted.log" 2>&1 &
  pid=$!
  sleep 4
  kill -TERM "$pid"
  wait "$pid" && fail "an interrupted up calls itself a success"
  [[ ! -e $dir ]] || fail "an interrupted up leaves its directory"
  compare_leftovers
}

check_series_falls() {
  kubectl apply -f "$demo" >/dev/null
  kubectl -n shop rollout status deployment/checkout deployment/shoppers --timeout=60s >/dev/null
  until_value 60 'v == 1' "the shop is open"
  kubectl -n shop delete pod -l app=checkout --grace-period=0 --force >/dev/null 2>&1
  until_value 20 'v < 0.9' "all pods killed"
  until_value 60 'v > 0.999' "and back"
  kubectl -n shop rollout status deployment/checkout --timeout=60s >/dev/null
  [[ $(kubectl get --raw '/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?query=1' |
    jq -r .status) == success ]] || fail "Prometheus through the API server's proxy"
}

check_drain() {
  local lost
  # The vault's budget never lets it go: that is what it is for.
  kubectl -n shop scale deployment/vault --replicas=0 >/dev/null
  kubectl -n shop wait --for=delete pod -l app=vault --timeout=60s >/dev/null
  kubectl drain real-0 --ignore-daemonsets --timeout=60s >/dev/null 2>&1
  kubectl -n shop rollout status deployment/checkout --timeout=60s >/dev/null
  kubectl -n shop get pods -o wide | grep -q real-0 && fail "pods on a drained node"
  kubectl uncordon real-0 >/dev/null
  lost=$(query 'sum(increase(http_requests_total{app="checkout",code="503"}[10s]))')
  [[ $lost == 0 ]] || say "the drain lost $lost requests"
  say "a drain moves the pods"
}

check_apiserver_restart() {
  "$cluster" stop apiserver --dir "$dir"
  kubectl get --raw /readyz >/dev/null 2>&1 && fail "a stopped API server answers"
  "$cluster" start apiserver --dir "$dir"
  for _ in {1..60}; do
    kubectl get --raw /readyz >/dev/null 2>&1 && break
    sleep 0.5
  done
  kubectl wait --for=condition=Ready nodes --all --timeout=60s >/dev/null
  say "the API server died and came back"
}

compare_leftovers() {
  # A network namespace takes a moment to go away after its last process.
  for _ in {1..20}; do
    leftovers >"$work/after"
    cmp -s "$work/before" "$work/after" && return
    sleep 0.5
  done
  diff "$work/before" "$work/after" >&2 || true
  fail "something is left over"
}

trap finish EXIT
BIN=$("$here/build.sh")
leftovers >"$work/before"
check_interrupted_up
out=$("$cluster" up --real --dir "$dir")
PROMETHEUS=$(sed -n 's/^PROMETHEUS=//p' <<<"$out")
check_series_falls
check_drain
check_apiserver_restart
"$cluster" down --dir "$dir"
compare_leftovers
say "passed in $SECONDS s"
