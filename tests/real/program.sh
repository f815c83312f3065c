# shellcheck shell=bash
# The firedrill that the real servers are tried with: the one that FIREDRILL names, or a debug build. Sourced;
# expects $here, and $dir with a kubeconfig in it, and that $program is set by `program=$(program)`.

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
