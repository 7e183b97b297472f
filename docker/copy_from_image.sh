#!/bin/sh
# Copies a file out of an image: docker/copy_from_image.sh IMAGE /path/in/the/image FILE
set -eu
. "$(dirname "$0")/tool.sh"

if [ $# -ne 3 ]; then
    echo "expected an image, a path in it, and a file: docker/copy_from_image.sh nightreel:cpu /etc/passwd passwd" >&2
    exit 2
fi
image=$1 path=$2 file=$3
tool=$(find_tool)
case $tool in
    buildah)
        container=$(buildah from --pull-never "$image")
        trap 'buildah rm "$container" > /dev/null' EXIT
        cp "$(buildah mount "$container")$path" "$file"
        ;;
    *)
        container=$("$tool" create "$image")
        trap '"$tool" rm "$container" > /dev/null' EXIT
        "$tool" cp "$container:$path" "$file"
        ;;
esac
echo "$file"
