#!/usr/bin/env bash
# Builds the servers of the test bench from their Go modules into a cache
# outside of the checkout, and prints that directory.
#
#   build.sh          what is missing; all there: returns at once
#   build.sh --where  only prints the directory
#
# The directory's name is a hash of what decides its content, so a change of a
# version never mixes with old binaries. Needs Go; no C compiler, no root.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
gomod=$here/gomod

# Quick servers first: what fails, fails early.
programs=(
  etcd=go.etcd.io/etcd/server/v3
  kwok=sigs.k8s.io/kwok/cmd/kwok
  kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver
  kube-controller-manager=k8s.io/kubernetes/cmd/kube-controller-manager
  kube-scheduler=k8s.io/kubernetes/cmd/kube-scheduler
  kubectl=k8s.io/kubernetes/cmd/kubectl
  kubelet=k8s.io/kubernetes/cmd/kubelet
  kube-proxy=k8s.io/kubernetes/cmd/kube-proxy
  containerd=github.com/containerd/containerd/v2/cmd/containerd
  containerd-shim-runc-v2=github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
  ctr=github.com/containerd/containerd/v2/cmd/ctr
)
stages=(node/fast/node-initialize.yaml node/heartbeat-with-lease/node-heartbeat-with-lease.yaml
  pod/fast/pod-ready.yaml pod/fast/pod-complete.yaml pod/fast/pod-delete.yaml)

cache_dir() {
  local hash
  hash=$(cat "$gomod/go.mod" "$gomod/go.sum" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-12)
  echo "${FIREDRILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/firedrill}/bin-$hash"
}

complete() { # DIR
  local entry
  [[ -s $1/kwok-stages.yaml ]] || return 1
  for entry in "${programs[@]}"; do [[ -x $1/${entry%%=*} ]] || return 1; done
}

# Without its version a server calls itself v0.0.0 and its clients misbehave.
ldflags() {
  local version major minor package flags='-s -w'
  version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$gomod/go.mod")
  IFS=. read -r major minor _ <<<"${version#v}"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
    flags+=" -X $package.gitTreeState=clean"
  done
  echo "$flags"
}

build_program() { # DIR NAME PACKAGE
  local dir=$1 name=$2 package=$3 started=$SECONDS
  [[ -x $dir/$name ]] && return
  # Built beside and moved: an interrupted build never looks like a program.
  CGO_ENABLED=0 go build -C "$gomod" -mod=readonly -trimpath -buildvcs=false \
    -ldflags "$(ldflags)" -o "$dir/.$name.part" "$package"
  mv "$dir/.$name.part" "$dir/$name"
  echo "built $name in $((SECONDS - started)) s" >&2
}

# kwok's own stages: nodes become Ready, renew a lease; pods run at once, end, go away.
copy_stages() { # DIR
  local dir=$1 module stage
  go -C "$gomod" mod download sigs.k8s.io/kwok
  module=$(go -C "$gomod" list -m -f '{{.Dir}}' sigs.k8s.io/kwok)
  for stage in "${stages[@]}"; do
    echo ---
    cat "$module/kustomize/stage/$stage"
  done >"$dir/.stages.part"
  mv "$dir/.stages.part" "$dir/kwok-stages.yaml"
}

main() {
  local dir entry
  dir=$(cache_dir)
  if [[ ${1-} != --where ]] && ! complete "$dir"; then
    command -v go >/dev/null || { echo "build.sh: Go is needed to build the servers" >&2; exit 1; }
    mkdir -p "$dir"
    # Two builds at once would only take turns on the same cores.
    exec 9>"$dir/.lock"
    flock 9
    copy_stages "$dir"
    for entry in "${programs[@]}"; do build_program "$dir" "${entry%%=*}" "${entry#*=}"; done
  fi
  echo "$dir"
}

main "$@"
