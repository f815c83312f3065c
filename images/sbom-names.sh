#!/usr/bin/env bash
# Whether the bills of materials name everything that is linked: for each binary every package that cargo resolves for it,
# in its version, and nothing that Cargo.lock does not have.
#
#   images/sbom-names.sh                 TARGET as for image.sh; needs what sbom.sh needs
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C
bad=0

# NAME VERSION, one a line.
awk '$1 == "name" { gsub(/"/, "", $3); name = $3 } $1 == "version" { gsub(/"/, "", $3); print name, $3 }' \
  <(sed -n '/^\[\[package\]\]/,$p' "$root/Cargo.lock") | sort -u >"$work/locked"

for binary in firedrill firedrill-agent; do
  features=()
  [[ $binary != firedrill-agent ]] || features=(--no-default-features)
  "$here/sbom.sh" "$work/sbom.json" "$binary"
  jq -r '.components[] | "\(.name) \(.version)"' "$work/sbom.json" | sort -u >"$work/named"
  # Macros run in the compiler and are in no binary.
  cargo tree --manifest-path "$root/Cargo.toml" --locked --quiet --prefix none --format '{p}' \
    --edges normal,no-proc-macro --target "${TARGET:-x86_64-unknown-linux-musl}" "${features[@]}" |
    awk '$1 != "firedrill" && NF { sub(/^v/, "", $2); print $1, $2 }' | sort -u >"$work/linked"
  [[ -s $work/linked ]] || { echo "$binary: cargo names nothing that is linked"; bad=1; }
  missing=$(comm -13 "$work/named" "$work/linked")
  unknown=$(comm -23 "$work/named" "$work/locked")
  [[ -z $missing ]] || { echo "$binary: linked, and not in the bill of materials:"; echo "$missing"; bad=1; }
  [[ -z $unknown ]] || { echo "$binary: in the bill of materials, and not in Cargo.lock:"; echo "$unknown"; bad=1; }
  echo "$binary: $(wc -l <"$work/linked") packages are linked"
done
exit "$bad"
