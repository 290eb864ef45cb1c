#!/usr/bin/env bash
# Puts grpcio, which the Python example needs, into the cache, once, through your own pip configuration, and prints the
# folder to add to PYTHONPATH. Nothing of the system's Python is touched.
set -euo pipefail

readonly GRPC=1.76.0

cache=${FOLDWISE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foldwise}
python=$(python3 -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
folder=$cache/grpcio-$GRPC-python$python
if [[ ! -d $folder ]]; then
    printf 'python: fetching grpcio %s into %s\n' "$GRPC" "$folder" >&2
    mkdir -p "$cache"
    # Moved there when it is whole, so that an interrupted download leaves nothing half done.
    new=$(mktemp -d "$cache/grpcio.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --target "$new" "grpcio-tools==$GRPC" >&2
    mv -T "$new" "$folder" 2>/dev/null || [[ -d $folder ]]
fi
printf '%s\n' "$folder"
