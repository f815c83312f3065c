# shellcheck shell=bash
# The firedrill that the real servers are tried with: the one that FIREDRILL names, or a debug build. Sourced;
# expects $here, $dir with a kubeconfig in it, that $program is set by `program=$(program)`, and of what is further down
# $work, $BIN and kubectl.

program() {
  if [[ -n ${FIREDRILL-} ]]; then
    echo "$FIREDRILL"
  else
    cargo build --quiet --manifest-path "$here/../../Cargo.toml" --bin firedrill
    cargo metadata --manifest-path "$here/../../Cargo.toml" --format-version 1 --no-deps |
      sed -n 's/.*"target_directory":"\([^"]*\)".*/\1\/debug\/firedrill/p'
  fi
}

firedrill() { KUBECONFIG=$dir/kubeconfig "$program" "$@"; }

# Our kinds, as this program has them, served.
define() {
  firedrill crds | kubectl apply --server-side -f - >/dev/null
  local kind
  for kind in experiments gamedays guardrails runs; do
    # One that has no condition yet is an error to kubectl, and not one that it waits for.
    for _ in {1..20}; do
      kubectl wait --for=condition=Established --timeout=30s "crd/$kind.firedrill.dev" >/dev/null 2>&1 && break
      sleep 0.5
    done
  done
}

# A kubeconfig at $work/account with the controller's account and nothing else.
account() {
  local token
  token=$(kubectl create token firedrill -n firedrill --duration=12h)
  kubectl config view --raw --minify --flatten >"$work/account"
  "$BIN/kubectl" --kubeconfig "$work/account" config set-credentials account --token="$token" >/dev/null
  "$BIN/kubectl" --kubeconfig "$work/account" config set-context --current --user=account >/dev/null
}

# Waits until what `state` prints is what $work/before has. The controllers take their own taints away a moment after the
# cordon.
as_before() {
  local deadline=$((SECONDS + 20))
  while state >"$work/after" && ! diff -q "$work/before" "$work/after" >/dev/null; do
    ((SECONDS < deadline)) || return 1
    sleep 0.5
  done
}
