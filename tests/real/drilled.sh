# shellcheck shell=bash
# What controller.sh and misfortune.sh do with the workload of controller.yaml: replicas of the controller, Runs, and
# waiting until all is as before. Sourced, after program.sh; expects $here, and sets $work, $dir, $BIN, $program and the
# array $replicas.

say() { echo "$(basename -- "$0" .sh): $*" >&2; }

finish() {
  local rc=$?
  trap - EXIT
  for pid in "${replicas[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  ((rc == 0)) || tail -n 40 "$work"/*.log >&2 || true
  "$here/cluster.sh" down --dir "$dir" || rc=1
  rm -rf "$work"
  exit "$rc"
}

kubectl() { timeout 60 "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" "$@"; }
now() { date +%s%3N; }

replica() { # NAME [UID]: started, its pid in $pid; with the UID of a pod of that name as that pod
  KUBECONFIG=$dir/kubeconfig POD_NAME=$1 POD_UID=${2-} "$program" controller >"$work/$1.log" 2>&1 &
  pid=$!
  replicas+=("$pid")
}

# Waits for words of a jsonpath of an object to be VALUE; polls fast, so that what it takes can be told.
until_is() { # SECONDS VALUE KIND NAME PATH
  local deadline=$(($(now) + $1 * 1000))
  while [[ $(kubectl get "$3" "$4" -n shop -o "jsonpath=$5" 2>/dev/null) != "$2" ]]; do
    (($(now) < deadline)) || { say "$3/$4 $5 is not $2 after $1 s"; return 1; }
    sleep 0.1
  done
}

begin() { # EXPERIMENT: a Run of it is made, its name in $run
  run=$(kubectl create -n shop -o name -f - <<<"{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: $1-}, spec: {experimentRef: {name: $1}}}")
  run=${run#*/}
}

in_force() { until_is 30 1 deployment web '{.status.readyReplicas}'; }
# A revert that is a scale is done when the spec says so.
back() { until_is "$1" 4 deployment web '{.spec.replicas}'; }
verdict() { # VERDICT REASON
  until_is 90 Finished run "$run" '{.status.phase}'
  until_is 1 "$1 $2" run "$run" '{.status.verdict} {.status.reason}'
}

nobody_holds() {
  local deadline=$((SECONDS + 40))
  while kubectl get leases -A -o name | grep -E '/(run-|firedrill$)' >/dev/null; do
    ((SECONDS < deadline)) || { kubectl get leases -A >&2; return 1; }
    sleep 0.5
  done
}

clean() { # WHAT MS
  back 5
  until_is 60 4 deployment web '{.status.readyReplicas}'
  nobody_holds
  [[ -z $(kubectl get deployment web -n shop -o 'jsonpath={.metadata.labels}{.metadata.annotations.undo\.firedrill\.dev}') ]] ||
    { say "marks are left on web"; return 1; }
  printf '%-58s %7s ms\n' "$1" "$2"
}

# A control plane with the workload in it, taken down when the script ends.
stage() {
  work=$(mktemp -d)
  dir=$work/cluster
  replicas=()
  trap finish EXIT
  trap 'exit 130' INT TERM
  BIN=$("$here/build.sh")
  program=$(program)
  "$here/cluster.sh" up --dir "$dir" --nodes 3 >/dev/null
  define
  kubectl apply --server-side -f "$here/controller.yaml" >/dev/null
  kubectl rollout status -n shop deployment/web --timeout=60s >/dev/null
}
