#!/usr/bin/env bash
# A Kubernetes cluster of real servers on this machine.
#
#   cluster.sh up [--dir DIR] [--nodes N] [--real] [--audit]
#   cluster.sh down --dir DIR
#   cluster.sh stop|start NAME --dir DIR     one server, as DIR/pids calls it: stop kills it. A node (real-0) is all
#                                            that runs on it: started again, it comes up as after a power cut
#
#   --dir DIR   where its state, logs and kubeconfig go (default: a new temporary directory)
#   --nodes N   fake nodes kept by kwok (default 3; with --real 0)
#   --real      two real nodes with real pods, and a Prometheus; needs root
#   --audit     the API server writes every call to DIR/audit.log
#
# `up` ends with lines that a shell can read: DIR=..., KUBECONFIG=...
# and with --real PROMETHEUS=... . `down` ends all that `up` started.
set -Eeuo pipefail
trap 'echo "bench: error: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/real/lib.sh
source "$here/lib.sh"
# shellcheck source=tests/real/controlplane.sh
source "$here/controlplane.sh"
# shellcheck source=tests/real/nodes.sh
source "$here/nodes.sh"
# shellcheck source=tests/real/monitoring.sh
source "$here/monitoring.sh"

usage() {
  sed -n '2,/^set -e/{/^set -e/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

kubectl() { timeout 60 "$BIN/kubectl" --kubeconfig "$DIR/kubeconfig" "$@"; }

parse() {
  DIR='' NODES='' REAL=0 AUDIT=''
  while (($#)); do
    case $1 in
      --dir) DIR=${2:?--dir needs a directory} && shift ;;
      --nodes) NODES=${2:?--nodes needs a number} && shift ;;
      --real) REAL=1 ;;
      --audit) AUDIT=yes ;;
      *) usage ;;
    esac
    shift
  done
  [[ -n $NODES ]] || NODES=$((REAL ? 0 : 3))
  [[ $NODES =~ ^[0-9]+$ ]] || usage
}

give_up() {
  local rc=$?
  trap - EXIT
  ((rc)) || return 0
  show_logs "$DIR"
  log "up failed; taking everything down again"
  take_down "$DIR"
  exit "$rc"
}

up() {
  local started=$SECONDS
  [[ -n $DIR ]] || DIR=$(mktemp -d "${TMPDIR:-/tmp}/firedrill-bench.XXXXXX")
  mkdir -p "$DIR"/{logs,commands}
  DIR=$(cd "$DIR" && pwd)
  [[ ! -e $DIR/pids ]] || die "$DIR holds a cluster already"
  : >"$DIR/pids"
  trap give_up EXIT
  trap 'exit 130' INT TERM
  command -v openssl >/dev/null || apt_install openssl
  BIN=$("$here/build.sh")
  API_HOST=127.0.0.1 SERVICE_CIDR=10.96.0.0/16 SERVICE_FIRST=10.96.0.1 ENDPOINT_RECONCILER=none
  ((!REAL)) || prepare_real "$DIR"
  start_control_plane "$DIR"
  start_kwok "$DIR"
  create_kwok_nodes "$NODES"
  ((!REAL)) || start_real "$DIR"
  wait_up 90 "all nodes" nodes_ready "$((NODES + (REAL ? 2 : 0)))"
  trap - EXIT INT TERM
  log "up in $((SECONDS - started)) s"
  echo "DIR=$DIR"
  echo "KUBECONFIG=$DIR/kubeconfig"
  ((!REAL)) || echo "PROMETHEUS=$PROMETHEUS"
}

# By what is recorded in the directory only, so it works whatever `up` came to.
take_down() { # DIR
  stop_recorded "$1"
  remove_real "$1"
  release_claims "$1"
  rm -rf --one-file-system "$1"
}

down() {
  [[ -n $DIR ]] || usage
  [[ -d $DIR ]] || return 0
  DIR=$(cd "$DIR" && pwd)
  [[ -f $DIR/pids ]] || die "$DIR holds no cluster"
  take_down "$DIR"
}

command=${1-}
shift || usage
case $command in
  up | down)
    parse "$@"
    "$command"
    ;;
  stop | start)
    name=${1-}
    shift || usage
    parse "$@"
    [[ -n $DIR && -f $DIR/pids ]] || usage
    DIR=$(cd "$DIR" && pwd)
    if [[ $command/$name =~ ^start/real-[01]$ ]]; then
      start_node_again "$DIR" "${name#real-}"
    else
      "${command}_one" "$DIR" "$name"
    fi
    ;;
  *) usage ;;
esac
