#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS (30), and says what came of it. New inputs go to FUZZ_WORK (target/fuzz), what
# crashes to FUZZ_WORK/crashes; the corpus in the repository stays as it is. Arguments name targets; without, all run.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${FUZZ_SECONDS:-30}
work=$(realpath -m "${FUZZ_WORK:-target/fuzz}")
# The sanitizer is an option of nightly compilers; this lets the stable one, which we build with, take it as well.
export RUSTC_BOOTSTRAP=1

if ! command -v cargo-fuzz >/dev/null; then
    echo "installing cargo-fuzz, once"
    cargo install cargo-fuzz --locked
fi
mkdir -p "$work/crashes"
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cargo fuzz list --fuzz-dir deploy/fuzz); fi
cargo fuzz build --fuzz-dir deploy/fuzz --target-dir "$work/build"

failed=()
for target in "${targets[@]}"; do
    mkdir -p "$work/corpus/$target"
    log="$work/$target.log"
    if cargo fuzz run --fuzz-dir deploy/fuzz --target-dir "$work/build" "$target" \
        "$work/corpus/$target" "deploy/fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 \
        -artifact_prefix="$work/crashes/$target-" -print_final_stats=1 >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        found=$(find "$work/corpus/$target" -type f | wc -l)
        echo "$target: nothing found in $seconds seconds; ${runs:-no} runs, $found inputs beside the corpus"
    else
        failed+=("$target")
        echo "$target: FAILED"
        grep -E 'panicked at|ERROR:|SUMMARY:|Test unit written|error' -A1 "$log" | head -20 || tail -20 "$log"
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}; the inputs are in $work/crashes, the logs in $work"
    echo "mend it, and copy the input to deploy/fuzz/corpus/TARGET, where the ordinary tests read it"
    exit 1
fi
