#!/usr/bin/env bash
# The demo study on MNIST where it can be had, and on digits drawn by the program itself where not.
set -euo pipefail
cd "$(dirname "$0")/.."
foldwise=target/release/foldwise

dataset=mnist
if ! "$foldwise" data fetch mnist; then
    dataset=synthetic-digits
    echo "MNIST cannot be had here (see above); going on with $dataset, which the program draws itself" >&2
fi

db="demo-$dataset.db"
if [ -e "$db" ]; then
    echo "$db is there already: going on with its study (delete the file to begin anew)" >&2
fi
exec "$foldwise" run deploy/studies/demo.toml --db "$db" --set "data.dataset=$dataset"
