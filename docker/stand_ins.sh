#!/bin/sh
# Makes stand-ins for images of a registry that cannot be reached, from Debian's packages: docker/stand_ins.sh [NAME ...]
#
#     localhost/python:3.11-slim   for PYTHON_IMAGE
#     localhost/cuda:base          for CUDA_IMAGE: a system without Python, and without anything of CUDA
#     localhost/pgvector:17        for the Postgres of compose.yaml
#
# Without names, it makes all. It needs root, debootstrap and buildah.
set -eu

make() { # name, Debian's release, packages
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
    debootstrap --variant=minbase ${3:+--include="$3"} "$2" "$directory/root" > "$directory/log" || { cat "$directory/log"; exit 1; }
    rm -rf "$directory"/root/var/cache/apt/archives/*.deb "$directory"/root/var/lib/apt/lists/*
    [ ! -e "$directory/root/usr/bin/python3" ] || ln -sf python3 "$directory/root/usr/bin/python"
    tar -C "$directory/root" -cf "$directory/root.tar" .
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$directory/root.tar" / > /dev/null
    buildah commit --quiet --rm "$container" "$1" > /dev/null
    rm -rf "$directory"
    echo "$1"
}

[ $# -gt 0 ] || set -- python cuda pgvector
for name in "$@"; do
    case $name in
        python) make localhost/python:3.11-slim bookworm python3,python3-venv,ca-certificates ;;
        cuda) make localhost/cuda:base bookworm ca-certificates ;;
        pgvector) make localhost/pgvector:17 trixie postgresql-17-pgvector ;;
        *) echo "no stand-in is called $name: expected python, cuda or pgvector" >&2 && exit 2 ;;
    esac
done
