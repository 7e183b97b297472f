# Finds the tool for images: `. docker/tool.sh`, then `find_tool`. TOOL names one.

# A command may exist without an engine behind it, so ask it for its state.
works() {
    command -v "$1" > /dev/null && "$1" info > /dev/null 2>&1
}

# Prints buildah, podman or docker, the first that works here.
find_tool() {
    if [ -n "${TOOL:-}" ]; then
        if ! works "$TOOL"; then
            echo "TOOL=$TOOL does not work here: '$TOOL info' fails; expected buildah, podman or docker" >&2
            return 1
        fi
        echo "$TOOL"
        return
    fi
    for tool in buildah podman docker; do
        if works "$tool"; then
            echo "$tool"
            return
        fi
    done
    echo "no tool here can build an image: install buildah, podman or docker, and check that 'docker info' works" >&2
    return 1
}
