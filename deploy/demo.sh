#!/usr/bin/env bash
# The demo study on MNIST where it can be had, and on digits drawn by the program itself where not.
set -euo pipefail
cd "$(dirname "$0")/.."
foldwise=target/release/foldwise

dataset=mnist
if ! "$foldwise" data show mnist >/dev/null 2>&1; then
    echo "fetching MNIST (12 MB)" >&2
    if ! why=$("$foldwise" data fetch mnist 2>&1 >/dev/null); then
        dataset=synthetic-digits
        printf 'MNIST cannot be had here (%.160s...); going on with digits drawn by the program\n' "${why##*error: }" >&2
    fi
fi

db="demo-$dataset.db"
if [ -e "$db" ]; then
    echo "$db is there already: going on with its study (delete the file to begin anew)" >&2
fi
exec "$foldwise" run deploy/studies/demo.toml --db "$db" --set "data.dataset=$dataset"
