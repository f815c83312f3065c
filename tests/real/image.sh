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
blobs=$work/oci/blobs/sha256

# The same files give the same archive: no times, no owners, one order.
pack() { # OUT DIR ENTRY...
  tar --create --file "$1" --directory "$2" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX --format=ustar "${@:3}"
}

# Moves a file among the blobs; prints its digest and size as JSON members.
blob() { # FILE
  local digest size
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  size=$(stat -c %s "$1")
  mv "$1" "$blobs/$digest"
  echo "\"digest\": \"sha256:$digest\", \"size\": $size"
}

# One image of the layer with these arguments; prints its line of the index.
image() { # NAME ENTRYPOINT-JSON
  local name=$1 entrypoint=$2 config
  cat >"$work/config" <<JSON
{"architecture": "$arch", "os": "linux",
 "config": {"Entrypoint": $entrypoint, "User": "65532:65532", "ExposedPorts": {"8080/tcp": {}}},
 "rootfs": {"type": "layers", "diff_ids": ["$diff_id"]}}
JSON
  config=$(blob "$work/config")
  cat >"$work/manifest" <<JSON
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
 "config": {"mediaType": "application/vnd.oci.image.config.v1+json", $config},
 "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", $layer}]}
JSON
  echo "{\"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", $(blob "$work/manifest")," \
    "\"annotations\": {\"io.containerd.image.name\": \"$name\", \"org.opencontainers.image.ref.name\": \"${name##*:}\"}}"
}

mkdir -p "$blobs" "$work/layer-files"
arch=$(go env GOARCH)
CGO_ENABLED=0 GOOS=linux go build -C "$here/workload" -trimpath -buildvcs=false -ldflags '-s -w -buildid=' \
  -o "$work/layer-files/demo-shop" .
pack "$work/layer" "$work/layer-files" demo-shop
layer=$(blob "$work/layer")
diff_id=$(grep -o 'sha256:[0-9a-f]*' <<<"$layer")
shop=$(image docker.io/firedrill/demo-shop:1 '["/demo-shop"]')
pause=$(image docker.io/firedrill/pause:1 '["/demo-shop", "pause"]')
echo '{"imageLayoutVersion": "1.0.0"}' >"$work/oci/oci-layout"
echo "{\"schemaVersion\": 2, \"manifests\": [$shop, $pause]}" >"$work/oci/index.json"
pack "$work/image.tar" "$work/oci" oci-layout index.json blobs
mv "$work/image.tar" "$out"
