#!/usr/bin/env bash
# An image of one archive of `release/build.sh`, which this runs first where there is none: what is published as a file and as an image is
# the same binary.
#
#   release/image.sh [ARCHIVE] [NAME]       # dist/distill-*-musl.tar.gz and `distill`, if not given
#
# Takes podman, docker or buildah, the first that works here; ENGINE=buildah names one.
set -euo pipefail
cd "$(dirname "$0")/.."
archive=${1:-dist/distill-*-musl.tar.gz}
name=${2:-distill}

engine=${ENGINE:-}
for one in podman docker buildah; do
    # A client whose daemon does not run is no engine.
    if [ -z "$engine" ] && "$one" info >/dev/null 2>&1; then engine=$one; fi
done
if [ -z "$engine" ]; then
    echo "error: no \`podman\`, \`docker\` or \`buildah\` works here: install one, or name it by ENGINE to see what it says" >&2
    exit 2
fi
if [ $# -eq 0 ]; then
    compgen -G "$archive" >/dev/null || release/build.sh
    archive=$(compgen -G "$archive" | tail -n 1)
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
tar -xzf "$archive" -C "$folder" --strip-components=1
if readelf -d "$folder/distill" | grep -q NEEDED; then
    echo "error: the binary of $archive needs libraries, and the image has none: build it for musl" >&2
    exit 1
fi
mkdir -m 1777 "$folder/tmp"
mkdir "$folder/work"
"$engine" build -t "$name" -f release/Containerfile "$folder"

# It has to work before anyone is told so.
if [ "$engine" = buildah ]; then
    container=$(buildah from "$name")
    trap 'buildah rm "$container" >/dev/null; rm -rf "$folder"' EXIT
    inside() { buildah run "$container" -- /distill "$@"; }
else
    inside() { "$engine" run --rm "$name" "$@"; }
fi
inside doctor | tail -n 1
inside generate --model builtin:tiny --prompt "Tell me a story." --max-tokens 16
"$engine" images "$name"
