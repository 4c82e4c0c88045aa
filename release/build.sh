#!/usr/bin/env bash
# One archive of the CPU build: the binary, licences, man pages and completions, with its SHA-256 beside it and what the binary is made of
# (`.ci/sbom`, which takes Python 3.11).
#
#   release/build.sh [OUT]          # OUT: folder for the archive, dist/ if not given
#
# The binary is linked against musl and needs nothing of the system it runs on. That takes the target's standard library and a C
# compiler for it:
#
#   rustup target add x86_64-unknown-linux-musl
#   apt-get install musl-tools      # Debian and Ubuntu
#
# TARGET=x86_64-unknown-linux-gnu builds against the system's own C library.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-dist}
target=${TARGET:-$(uname -m)-unknown-linux-musl}

if [[ $target == *-musl ]] && ! command -v musl-gcc >/dev/null; then
    echo "error: no \`musl-gcc\` for $target: install \`musl-tools\`, or set TARGET to one that your compiler serves" >&2
    exit 2
fi
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    echo "error: no standard library for $target: \`rustup target add $target\`" >&2
    exit 2
fi

cargo build --release --locked -p distill --target "$target"
binary=${CARGO_TARGET_DIR:-target}/$target/release/distill
if [[ $target == *-musl ]] && readelf -d "$binary" | grep -q NEEDED; then
    echo "error: $binary needs libraries of the system:" >&2
    readelf -d "$binary" | grep NEEDED >&2
    exit 1
fi

# It has to work before it is packed.
"$binary" doctor | tail -n 1
"$binary" generate --model builtin:tiny --prompt "Tell me a story." --max-tokens 16

version=$("$binary" --version | cut -d ' ' -f 2)
name=distill-$version-$target
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/$name/completions" "$out"
install -m 755 "$binary" "$folder/$name/distill"
strip "$folder/$name/distill"
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$folder/$name/"
for shell in bash zsh fish; do
    "$binary" completions "$shell" >"$folder/$name/completions/distill.$shell"
done
"$binary" man "$folder/$name/man"

# The same files give the same archive.
archive=$out/$name.tar.gz
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -C "$folder" -c "$name" | gzip -n >"$archive"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
.ci/sbom --target "$target" >"$out/$name.cdx.json"
ls -l "$archive"
