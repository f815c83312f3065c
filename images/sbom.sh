#!/usr/bin/env bash
# Writes what a binary of this project is made of, as a CycloneDX document in JSON:
#
#   images/sbom.sh OUT.json [BINARY]     BINARY is firedrill unless said otherwise; TARGET as for image.sh
#
# Everything that is linked into it for that target, with versions, licences and checksums of packages, and nothing that
# only builds or tests it. The same commit gives the same bytes. Needs cargo-cyclonedx
# (cargo install cargo-cyclonedx --locked) and jq.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
out=${1:?usage: sbom.sh OUT.json [BINARY]}
binary=${2:-firedrill}
root=$(dirname "$here")
features=()
[[ $binary != firedrill-agent ]] || features=(--no-default-features)
name=sbom-$$
trap 'rm -f "$root/$name.json"' EXIT
# It writes beside Cargo.toml and nowhere else.
SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct) cargo cyclonedx --manifest-path "$root/Cargo.toml" --quiet \
  --format json --spec-version 1.5 --no-build-deps --target "${TARGET:-x86_64-unknown-linux-musl}" \
  --override-filename "$name" "${features[@]}"
# A number that is another each time says nothing.
jq --arg binary "$binary" 'del(.serialNumber) | .metadata.component.name = $binary' "$root/$name.json" >"$out"
echo "$binary: $(jq '.components | length' "$out") packages"
