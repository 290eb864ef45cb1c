#!/usr/bin/env bash
# Runs the study of pruning.toml with each pruner, one after another, and prints what each trained and found. Needs
# `make build` and MNIST. The database, pruning.db unless named, keeps all of them; what is in it is not run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
foldwise=target/release/foldwise
db=${1:-pruning.db}

while read -r name section; do
    "$foldwise" run deploy/bench/pruning.toml --db "$db" --workers 2 --device cpu \
        --set "study.name=$name" --set "pruner=$section" >/dev/null </dev/null
done <<'PRUNERS'
none                      { kind = "none" }
median                    { kind = "median" }
percentile-25             { kind = "percentile", percentile = 25 }
paired                    { kind = "paired" }
sequential                { kind = "sequential" }
successive-halving        { kind = "successive-halving" }
hyperband                 { kind = "hyperband" }
patience-2                { kind = "patience", patience = 2 }
threshold                 { kind = "threshold", upper = 0.065, warmup_epochs = 3 }
PRUNERS

# Counted from the end of a line, because a study's message may have a comma.
"$foldwise" study list --db "$db" -o csv | awk -F, '
    NR == 1 { next }
    {
        trials = 0
        for (state = NF - 11; state <= NF - 5; state++) trials += $state
        rate = 3600000 * trials / $(NF - 3)
        if (NR == 2) { print "pruner               complete  epochs  share  trials/h  ratio  best     worse"; all = $(NF - 4); first = rate; best = $NF }
        printf "%-20s %2d of %2d  %6d  %3.0f %%  %8.0f  %4.2fx  %.5f  %3.1f %%\n", $2, $(NF - 8), trials, $(NF - 4), 100 * $(NF - 4) / all, rate, rate / first, $NF, 100 * ($NF / best - 1)
    }'
