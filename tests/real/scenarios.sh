#!/usr/bin/env bash
# The scenarios of tests/all against real servers: `scenarios.sh` on a control plane with kwok's nodes,
# `scenarios.sh --real` on two real nodes with real pods and a Prometheus (needs root).
# Further arguments go to `cargo test`.
set -Eeuo pipefail
trap 'echo "scenarios: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
bench=(--nodes 0)
if [[ ${1-} == --real ]]; then
  bench=(--real)
  shift
fi
work=$(mktemp -d)
dir=$work/cluster

finish() {
  local rc=$?
  "$here/cluster.sh" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM

cd "$here/../.."
cargo test --test all --no-run
if [[ ${bench[0]} == --real ]]; then
  # Pods of firedrill's own: not the smallest programs, but the same.
  IMAGES=''
  for binary in firedrill-agent firedrill; do
    PROFILE=${PROFILE:-release} images/image.sh "$work/$binary.tar" "$binary"
    IMAGES+="$work/$binary.tar "
  done
  export IMAGES
fi
out=$("$here/cluster.sh" up "${bench[@]}" --dir "$dir")
export FIREDRILL_BENCH_KUBECONFIG FIREDRILL_BENCH_PROMETHEUS
FIREDRILL_BENCH_KUBECONFIG=$(sed -n 's/^KUBECONFIG=//p' <<<"$out")
FIREDRILL_BENCH_PROMETHEUS=$(sed -n 's/^PROMETHEUS=//p' <<<"$out")
[[ -n $FIREDRILL_BENCH_PROMETHEUS ]] || unset FIREDRILL_BENCH_PROMETHEUS
# One test at a time: they share the cluster, and some rows need it for themselves.
cargo test --test all real:: -- --nocapture --test-threads=1 "$@"
# A part of them was asked for, or all.
if [[ ${bench[0]} == --real && $# -eq 0 ]]; then
  "$here/hosts.sh" "$dir"
  # Helm takes nothing over that others have made, and the tests have made some of it.
  "$here/cluster.sh" down --dir "$dir"
  "$here/cluster.sh" up "${bench[@]}" --dir "$dir" >/dev/null
  "$here/installed.sh" "$dir"
fi
