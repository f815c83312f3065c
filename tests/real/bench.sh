#!/usr/bin/env bash
# The benchmarks that need a real API server: brings up a control plane with four kwok
# nodes and an audit log, runs benches/real, takes it down.
#
#   bench.sh [drain|budget|kill|zone|abort]...     all unless some are named;
#                                                  FIREDRILL_LONG=1 for all rounds (about half an hour)
#   bench.sh controller                            the controller, with 100 kwok nodes and 10,000 pods;
#                                                  FIREDRILL_LONG=1 for 100 rounds of each abort (an hour)
#   bench.sh targets                               a Run of 6,000 nodes by the controller
#   bench.sh agents                                agents, on two real nodes (needs root)
set -Eeuo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
dir=$work/cluster

finish() {
  local rc=$?
  trap - EXIT
  "$here/cluster.sh" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM

BIN=$("$here/build.sh")
# Built before the cluster is there: it would only be in the way.
bench=${FIREDRILL_BENCH-}
if [[ -z $bench ]]; then
  bench=$(cargo bench --manifest-path "$here/../../Cargo.toml" --bench real --no-run --message-format json |
    sed -n 's/.*"name":"real".*"executable":"\([^"]*\)".*/\1/p')
fi
nodes=(--nodes 4)
if [[ ${1-} == targets ]]; then
  # Six thousand that kwok kept would be all that it and the API server had time for.
  nodes=(--nodes 0)
  export NODE_GRACE=24h
fi
[[ ${1-} != controller ]] || nodes=(--nodes 100)
if [[ ${1-} == controller || ${1-} == targets ]]; then
  if [[ -z ${FIREDRILL-} ]]; then
    cargo build --release --locked --manifest-path "$here/../../Cargo.toml"
    FIREDRILL=${CARGO_TARGET_DIR:-$here/../../target}/release/firedrill
  fi
  export FIREDRILL_BENCH_PROGRAM=$FIREDRILL
fi
if [[ ${1-} == agents ]]; then
  nodes=(--real)
  PROFILE=${PROFILE:-release} "$here/../../images/image.sh" "$work/agent.tar" firedrill-agent
  export IMAGES=$work/agent.tar
fi
"$here/cluster.sh" up --dir "$dir" "${nodes[@]}" --audit >/dev/null
FIREDRILL_BENCH_KUBECONFIG=$dir/kubeconfig FIREDRILL_BENCH_KUBECTL=$BIN/kubectl FIREDRILL_BENCH_AUDIT=$dir/audit.log \
  "$bench" --bench "$@"
