#!/bin/sh
# Builds an image with buildah, podman or docker, whichever works here: docker/build.sh cpu|gpu IMAGE [OPTION ...]
#
# Further options go to the build. TOOL names the tool. BUILDAH_ISOLATION=chroot lets buildah and podman build inside a
# container that may not start others.
set -eu
cd "$(dirname "$0")/.."
. docker/tool.sh

if [ $# -lt 2 ]; then
    echo "expected a target and the name of an image: docker/build.sh cpu nightreel:cpu" >&2
    exit 2
fi
target=$1 image=$2
shift 2
tool=$(find_tool)
# The default format of buildah and podman has no HEALTHCHECK.
if [ "$tool" != docker ]; then
    set -- --format docker "$@"
fi
echo "building $image, target $target, with $tool: some minutes"
exec "$tool" build --file docker/Dockerfile --target "$target" --tag "$image" "$@" .
