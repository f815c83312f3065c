# shellcheck shell=bash
# OCI archives from files, without a registry, a daemon or root. The same files give the same bytes: no times, no
# owners, one order. Sourced; expects `set -euo pipefail`, $work (a folder of the caller's) and $arch.

blobs=$work/oci/blobs/sha256
mkdir -p "$blobs"

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

# The one layer of all images, of these files of a folder: sets $layer and $diff_id.
layer() { # DIR ENTRY...
  pack "$work/layer" "$@"
  layer=$(blob "$work/layer")
  diff_id=$(grep -o 'sha256:[0-9a-f]*' <<<"$layer")
}

# One image of the layer; prints its line of the index. MORE are further members of its config.
image() { # NAME ENTRYPOINT-JSON [MORE]
  local name=$1 entrypoint=$2 more=${3-} config
  cat >"$work/config" <<JSON
{"architecture": "$arch", "os": "linux",
 "config": {"Entrypoint": $entrypoint, "User": "65532:65532"${more:+, $more}},
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

archive() { # OUT INDEX-LINE...
  local out=$1 lines
  lines=$(printf ', %s' "${@:2}")
  echo '{"imageLayoutVersion": "1.0.0"}' >"$work/oci/oci-layout"
  echo "{\"schemaVersion\": 2, \"manifests\": [${lines#, }]}" >"$work/oci/index.json"
  pack "$work/image.tar" "$work/oci" oci-layout index.json blobs
  mv "$work/image.tar" "$out"
}
