#!/usr/bin/env bash
# Puts libtorch where the build of the worker looks for it: `.libtorch` in the root of the repository, a link
# into a cache that this script fills once. The wheels come through your own pip configuration.
set -euo pipefail

readonly VERSION=2.11.0           # what tch 0.24 is made for
readonly CUDA_RUNTIME=13.0.96     # libtorch_cpu.so of that wheel links these two, GPU or not
readonly CUDA_CUPTI=13.0.85

usage() {
    cat <<TEXT
usage: deploy/libtorch.sh [--cpu | --cuda]

Fetches libtorch $VERSION (0.55 GB for a CPU, about 2.5 GB with CUDA), unpacks it into the cache and links it as
.libtorch. Does nothing where that is done already. Without an option it takes CUDA where an NVIDIA driver is seen.

  LIBTORCH         a libtorch of your own: it is checked, and nothing is fetched
  FOLDWISE_CACHE   the cache (default: \${XDG_CACHE_HOME:-~/.cache}/foldwise)
TEXT
}

say() { printf 'libtorch: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

variant=""
for argument in "$@"; do
    case $argument in
        --cpu | --cuda) variant=${argument#--} ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

# A folder that the build of torch-sys can use: lib, include, and the right version where one is written.
check() {
    local folder=$1 version
    [[ -d $folder/include/torch/csrc ]] || fail "$folder has no include/torch/csrc: it is no libtorch"
    compgen -G "$folder/lib/libtorch_cpu.*" >/dev/null || fail "$folder has no lib/libtorch_cpu: it is no libtorch"
    [[ -f $folder/build-version ]] || return 0
    version=$(<"$folder/build-version")
    [[ ${version%%+*} == "$VERSION" ]] || fail "$folder is libtorch $version; tch 0.24 needs $VERSION"
}

command -v c++ >/dev/null || fail "no C++ compiler (c++) found; on Debian and Ubuntu: apt install g++"

if [[ -n ${LIBTORCH:-} ]]; then
    check "$LIBTORCH"
    say "LIBTORCH=$LIBTORCH is used as it is"
    exit 0
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -z $variant && -e $root/.libtorch/torch/build-version ]]; then
    # Whichever variant was asked for before stays.
    check "$root/.libtorch/torch"
    say "ready: .libtorch -> $(readlink -f "$root/.libtorch")"
    exit 0
fi
if [[ -z $variant ]]; then
    variant=cpu
    if [[ -e /proc/driver/nvidia/version ]] || nvidia-smi -L >/dev/null 2>&1; then variant=cuda; fi
fi
cache=${FOLDWISE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foldwise}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
target=$cache/libtorch-$VERSION-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)-$variant
wheels=$cache/wheels-$VERSION

# Replaced by a rename, so that a build beside us never sees it missing.
link() {
    if [[ $(readlink "$root/.libtorch" || true) != "$target" ]]; then
        [[ -L $root/.libtorch || ! -e $root/.libtorch ]] || fail "$root/.libtorch is no link; move it away"
        ln -s "$target" "$root/.libtorch.$$"
        python3 -c 'import os, sys; os.replace(*sys.argv[1:])' "$root/.libtorch.$$" "$root/.libtorch"
    fi
    say "ready: .libtorch -> $target"
}

command -v python3 >/dev/null || fail "python3 not found; on Debian and Ubuntu: apt install python3 python3-pip"

# One run at a time; the second finds the work done. (macOS has no flock.)
if command -v flock >/dev/null; then
    exec 9>"$cache/.libtorch.lock"
    flock -n 9 || { say "another run is at work on $cache; waiting for it"; flock 9; }
fi

# `build-version` is written before the folder gets its name: with it, everything is there.
if [[ -f $target/torch/build-version ]]; then
    link
    exit 0
fi

python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip; on Debian and Ubuntu: apt install python3-pip"

# Any Python's wheel carries the same libtorch, so a Python too old or too new for torch asks as another one.
as_python=()
if ! python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'; then
    as_python=(--python-version 3.12 --only-binary=:all:)
fi

# Wheels arrive in $wheels by a rename: what stands there is whole, and an interrupted run goes on from it.
fetch() {
    rm -rf "$wheels/partial"
    mkdir -p "$wheels/partial"
    say "fetching $*"
    python3 -m pip download --quiet --dest "$wheels/partial" ${as_python[@]+"${as_python[@]}"} "$@" >&2 ||
        fail "pip could not download $*; what it said stands above (an index of your own: PIP_INDEX_URL)"
    mv "$wheels/partial"/*.whl "$wheels/"
    rmdir "$wheels/partial"
}
has() { compgen -G "$wheels/$1" >/dev/null; }

has "torch-$VERSION*.whl" || fetch --no-deps "torch==$VERSION"

# The libraries that this build of torch was linked with, one requirement a line; none for a build without CUDA.
requirements=$(python3 - "$wheels"/torch-"$VERSION"*.whl <<'PYTHON'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
for line in wheel.read(metadata).decode().splitlines():
    name, _, value = line.partition(": ")
    if name == "Requires-Dist" and value.startswith(("nvidia-", "cuda-toolkit")) and "extra ==" not in value:
        print(value.split(";")[0].strip())
PYTHON
)
[[ -n $requirements || $variant == cpu ]] || fail "pip's torch $VERSION for this machine was built without CUDA"
if [[ -n $requirements && $variant == cpu ]]; then
    has "nvidia_cuda_runtime-*.whl" || fetch --no-deps "nvidia-cuda-runtime==$CUDA_RUNTIME"
    has "nvidia_cuda_cupti-*.whl" || fetch --no-deps "nvidia-cuda-cupti==$CUDA_CUPTI"
elif [[ -n $requirements ]]; then
    mapfile -t requirements <<<"$requirements"
    has "nvidia_cudnn*.whl" || fetch "${requirements[@]}"
fi

say "unpacking into $target"
rm -rf "$target.partial" "$target"
python3 - "$variant" "$target.partial" "$VERSION" "$wheels"/*.whl <<'PYTHON'
import fnmatch, pathlib, sys, zipfile
variant, target, version, *wheels = sys.argv[1:]
wanted = ["torch/lib/lib*", "torch/include/*", "nvidia/*/lib/lib*.so*"]
unwanted = ["torch/lib/libtorch_python*", "torch/lib/libshm*"]
if variant == "cpu":
    unwanted += ["torch/lib/libtorch_cuda*", "torch/lib/libtorch_nvshmem*"]
matches = lambda name, patterns: any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
for path in wheels:
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if matches(name, wanted) and not matches(name, unwanted):
                wheel.extract(name, target)
(pathlib.Path(target) / "torch" / "build-version").write_text(version + "\n")
PYTHON
check "$target.partial/torch"
mv "$target.partial" "$target"
rm -rf "$wheels"
link
