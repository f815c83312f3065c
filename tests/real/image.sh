#!/usr/bin/env bash
# Packs the demo workload as an OCI archive, without a registry, a daemon or root:
#
#   image.sh OUT.tar      docker.io/firedrill/demo-shop:1 and docker.io/firedrill/pause:1
#
# Both images are the same static program with different arguments, so they
# share their only layer. With the same Go, the same bytes come out.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
out=${1:?usage: image.sh OUT.tar}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
arch=$(go env GOARCH)
# shellcheck source=images/oci.sh
. "$here/../../images/oci.sh"

mkdir "$work/layer-files"
CGO_ENABLED=0 GOOS=linux go build -C "$here/workload" -trimpath -buildvcs=false -ldflags '-s -w -buildid=' \
  -o "$work/layer-files/demo-shop" .
layer "$work/layer-files" demo-shop
ports='"ExposedPorts": {"8080/tcp": {}}'
archive "$out" "$(image docker.io/firedrill/demo-shop:1 '["/demo-shop"]' "$ports")" \
  "$(image docker.io/firedrill/pause:1 '["/demo-shop", "pause"]' "$ports")"
