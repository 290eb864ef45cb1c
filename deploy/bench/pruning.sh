#!/usr/bin/env bash
# Runs the study of pruning.toml with each pruner, one after another, and prints what each trained and found. Needs
# `make build` and MNIST. The database keeps all of them; what is in it already is not run again.
#
#   deploy/bench/pruning.sh [SEED [DATABASE]]
#
# Those that judge epochs let the first third of a fold pass: 21 steps, the first epoch, tell little.
set -euo pipefail
cd "$(dirname "$0")/../.."
foldwise=target/release/foldwise
seed=${1:-7}
db=${2:-pruning-$seed.db}

while read -r name section; do
    "$foldwise" run deploy/bench/pruning.toml --db "$db" --workers 2 --device cpu --set "study.seed=$seed" \
        --set "study.name=$name" --set "pruner=$section" >/dev/null </dev/null
done <<'PRUNERS'
none                { kind = "none" }
median              { kind = "median", warmup_epochs = 5 }
paired              { kind = "paired", warmup_epochs = 5 }
successive-halving  { kind = "successive-halving", min_resource = 6 }
percentile-25       { kind = "percentile", percentile = 25, warmup_epochs = 5 }
hyperband           { kind = "hyperband", min_resource = 6 }
sequential          { kind = "sequential" }
threshold           { kind = "threshold", upper = 0.067, warmup_epochs = 5 }
patience            { kind = "patience", patience = 2 }
PRUNERS

# Counted from the end of a line, because the message of a study may have a comma.
"$foldwise" study list --db "$db" -o csv | awk -F, '
    NR == 1 { next }
    {
        trials = 0
        for (state = NF - 11; state <= NF - 5; state++) trials += $state
        epochs = $(NF - 4); rate = 3600000 * trials / $(NF - 3); best = $NF
        if (NR == 2) {
            print "pruner              complete  epochs   fewer  trials/h  faster  best      worse"
            all_epochs = epochs; all_rate = rate; all_best = best
        }
        printf "%-18s  %2d of %2d  %6d  %5.2fx  %8.0f  %5.2fx  %.5f  %4.1f %%\n", $2, $(NF - 8), trials, epochs,
            all_epochs / epochs, rate, rate / all_rate, best, 100 * (best / all_best - 1)
    }'
