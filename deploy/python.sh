#!/usr/bin/env bash
# Puts what the Python examples need (grpcio, numpy, safetensors) into the cache, once, through your own pip configuration,
# and prints the folder to add to PYTHONPATH. Nothing of the system's Python is touched.
set -euo pipefail

readonly GRPC=1.76.0
readonly NUMPY=2.2.6
readonly SAFETENSORS=0.8.0

cache=${FOLDWISE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foldwise}
python=$(python3 -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
folder=$cache/python$python-grpcio$GRPC-numpy$NUMPY-safetensors$SAFETENSORS
if [[ ! -d $folder ]]; then
    printf 'python: fetching grpcio %s, numpy %s and safetensors %s into %s\n' "$GRPC" "$NUMPY" "$SAFETENSORS" "$folder" >&2
    mkdir -p "$cache"
    # Moved there when it is whole, so that an interrupted download leaves nothing half done.
    new=$(mktemp -d "$cache/python.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --target "$new" \
        "grpcio-tools==$GRPC" "numpy==$NUMPY" "safetensors==$SAFETENSORS" >&2
    mv -T "$new" "$folder" 2>/dev/null || [[ -d $folder ]]
fi
printf '%s\n' "$folder"
