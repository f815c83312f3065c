# shellcheck shell=bash
# Helm and kubeconform, built from gochart/ into the cache, once. Sourced; expects $here.

# Prints where they are.
chart_tools() {
  local hash into tool
  hash=$(cat "$here/gochart/go.mod" "$here/gochart/go.sum" | sha256sum | cut -c1-12)
  into=${FIREDRILL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/firedrill}/chart-$hash
  mkdir -p "$into"
  for tool in helm.sh/helm/v3/cmd/helm github.com/yannh/kubeconform/cmd/kubeconform; do
    [[ ! -x $into/${tool##*/} ]] || continue
    CGO_ENABLED=0 go build -C "$here/gochart" -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' \
      -o "$into/.part" "$tool"
    mv "$into/.part" "$into/${tool##*/}"
  done
  echo "$into"
}
