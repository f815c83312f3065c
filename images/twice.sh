#!/usr/bin/env bash
# Builds an image from two clones of what is committed, in folders of different names, and compares the archives byte by
# byte:
#
#   images/twice.sh [BINARY]     firedrill unless said otherwise; PROFILE and TARGET as for image.sh
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
binary=${1:-firedrill}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for place in here over/there; do
  git clone --quiet "$root" "$work/$place"
  CARGO_TARGET_DIR=$work/$place/built-${place//\//-} "$work/$place/images/image.sh" "$work/$place.tar" "$binary"
done
if ! cmp "$work/here.tar" "$work/over/there.tar"; then
  echo "images/twice.sh: two builds of $binary differ" >&2
  exit 1
fi
echo "$binary: $(stat -c %s "$work/here.tar") bytes, twice the same: sha256 $(sha256sum "$work/here.tar" | cut -d' ' -f1)"
