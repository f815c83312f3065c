#!/usr/bin/env bash
# Builds a binary of this project as a static program and packs it as an OCI archive, without a registry, a daemon or
# root:
#
#   images/image.sh OUT.tar [BINARY]     docker.io/firedrill/BINARY:VERSION; BINARY is firedrill unless said otherwise
#
# The program is the image's only file and its entry point. The same commit and toolchain give the same bytes, in
# whichever folders checkout, registry and target are. The agent is built without all that only the runner needs.
# PROFILE is the profile it is built with, dist unless said otherwise (ten minutes and more on two cores; release takes
# half of that); TARGET the Rust target.
# The image holds no certificate authorities.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
out=${1:?usage: image.sh OUT.tar [BINARY]}
binary=${2:-firedrill}
target=${TARGET:-x86_64-unknown-linux-musl}
profile=${PROFILE:-dist}
root=$(dirname "$here")
build=${CARGO_TARGET_DIR:-$root/target}
registry=${CARGO_HOME:-$HOME/.cargo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $target in
  x86_64-*) arch=amd64 ;;
  aarch64-*) arch=arm64 ;;
  *) echo "image.sh: no image for $target" >&2 && exit 1 ;;
esac
# shellcheck source=images/oci.sh
. "$here/oci.sh"

rustup target list --installed 2>/dev/null | grep -qx "$target" || rustup target add "$target" >&2
# Where things were when it was built is nobody's to know, and no two machines agree on it.
elsewhere=()
for pair in "$root=/firedrill" "$build=/target" "$registry=/cargo" "$(rustc --print sysroot)=/rust"; do
  elsewhere+=("--remap-path-prefix=$pair")
done
# A static program moves itself when it starts: packed (RELR), what it has to know for that is 1.6 MB less.
smaller=(-Clink-arg=-z -Clink-arg=pack-relative-relocs)
export RUSTFLAGS="${elsewhere[*]} ${smaller[*]}" SOURCE_DATE_EPOCH=0
# C comes with the crypto library and the allocator; what it takes of the C library is in Rust's own musl.
name=${target//-/_}
[[ $arch != "$(dpkg --print-architecture 2>/dev/null || echo amd64)" ]] || export "CC_$name=${CC:-gcc}"
export "CFLAGS_$name=-U_FORTIFY_SOURCE -ffile-prefix-map=$registry=/cargo -ffile-prefix-map=$build=/target"
features=()
[[ $binary != firedrill-agent ]] || features=(--no-default-features)
(cd "$root" && cargo build --locked --profile "$profile" --target "$target" --bin "$binary" "${features[@]}") >&2

mkdir "$work/files"
cp "$build/$target/$([[ $profile == dev ]] && echo debug || echo "$profile")/$binary" "$work/files/$binary"
layer "$work/files" "$binary"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
archive "$out" "$(image "docker.io/firedrill/$binary:$version" "[\"/$binary\"]")"
