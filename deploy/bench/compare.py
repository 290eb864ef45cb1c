#!/usr/bin/env python3
"""Times Foldwise beside the same work in PyTorch or Optuna, in turn, and prints medians and ratios.

  compare.py train [--rounds 3]   seconds an epoch of the "lab" network, 60,000 images, batch 256, one thread
  compare.py study [--rounds 3]   trials an hour of deploy/bench/study.toml, two workers of one thread
  compare.py suggest              milliseconds a suggestion after 100, 1,000 and 10,000 trials, 64 running (10 minutes)
  compare.py load                 durable epoch reports a second, beside Optuna's gRPC storage proxy over SQLite

Needs `make build`, and PYTHON to name the interpreter that has the peer: optuna, for `load` grpcio and protobuf too, and for
`train` and `study` torch 2.11.0 and lightning. These need FOLDWISE_DATA too, and PEERS to name the script of the peer.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "target" / "release"
PEERS = os.environ.get("PEERS", str(ROOT.parent / "shared" / "bench" / "peers.py"))
PYTHON = os.environ.get("PYTHON", "python3")
STACKS = ["eager", "lightning"]


def last_json(command):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def our_epoch():
    command = [PROGRAMS / "foldwise-worker", "bench", "--dataset", "mnist", "--epochs", "2", "--threads", "1"]
    result = last_json(command)
    assert result["images"] == 60_000, result
    return result["seconds_per_epoch"]


def their_epoch(stack):
    result = last_json([PYTHON, PEERS, "train", "--stack", stack, "--epochs", "2", "--threads", "1"])
    assert result["images"] == 60_000, result
    return result["seconds_per_epoch"]


def our_study():
    with tempfile.TemporaryDirectory() as folder:
        command = [PROGRAMS / "foldwise", "run", ROOT / "deploy/bench/study.toml", "--db", f"{folder}/bench.db"]
        start = time.perf_counter()
        subprocess.run([*command, "--workers", "2", "--device", "cpu"], check=True, capture_output=True)
        return time.perf_counter() - start


def their_study(stack):
    sizes = ["--trials", "6", "--folds", "3", "--epochs", "3", "--images", "12000", "--processes", "2"]
    return last_json([PYTHON, PEERS, "study", "--stack", stack, *sizes])["seconds"]


def suggest():
    sizes = {100: 50, 1_000: 50, 10_000: 10}
    print("milliseconds a suggestion, 20 params, 64 trials running (medians):")
    for trials, suggestions in sizes.items():
        command = [PROGRAMS / "foldwise", "bench", "suggest", "--sampler", "auto,tpe", "--trials", str(trials)]
        ours = json.loads(subprocess.run([*command, "-o", "json"], check=True, capture_output=True).stdout)
        peer = ["--trials", str(trials), "--suggestions", str(suggestions)]
        theirs = last_json([PYTHON, ROOT / "deploy/bench/optuna_suggest.py", *peer])
        print(f"  after {trials:6,}: optuna tpe {theirs['median_ms']:8.2f}", flush=True)
        for row in ours:
            ratio = theirs["median_ms"] / row["median_ms"]
            print(f"    {row['sampler']:8} {row['median_ms']:8.3f} (p99 {row['p99_ms']:.3f})   {ratio:.1f}x as fast")


def load(rounds):
    print("durable epoch reports a second:")
    ratios = []
    for number in range(1, rounds + 1):
        # As many clients as the peer has, then as many workers as a large site has.
        command = [PROGRAMS / "foldwise", "bench", "load", "--seconds", "1", "-o", "json"]
        few, many = (
            json.loads(subprocess.run([*command, "--workers", str(workers)], check=True, capture_output=True).stdout)
            for workers in (64, 1_000)
        )
        theirs = last_json([PYTHON, ROOT / "deploy/bench/optuna_load.py", "--reports", str(few["acknowledged"])])
        print(f"round {number}:")
        for name, row in {"foldwise": few, "foldwise ": many, "optuna": theirs}.items():
            clients = row.get("workers", row.get("clients"))
            print(
                f"  {name:9} {clients:5,} clients {row['reports_per_second']:9,.0f}   "
                f"median {row['median_ms']:7.1f} ms   p99 {row['p99_ms']:7.1f} ms   "
                f"{row['cpu_seconds'] / row['reports'] * 1e6:7.0f} us of CPU each",
                flush=True,
            )
        ratios.append(few["reports_per_second"] / theirs["reports_per_second"])
    print(f"with 64 clients, {theirs['reports']:,} reports: {statistics.median(ratios):.0f}x as many (of {rounds} rounds)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "study", "suggest", "load"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.what == "suggest":
        return suggest()
    if options.what == "load":
        return load(options.rounds)
    ours, theirs = (our_epoch, their_epoch) if options.what == "train" else (our_study, their_study)
    unit = "seconds an epoch" if options.what == "train" else "seconds a study"
    seen = {name: [] for name in ["foldwise", *STACKS]}
    for number in range(1, options.rounds + 1):
        seen["foldwise"].append(ours())
        for stack in STACKS:
            seen[stack].append(theirs(stack))
        print(f"round {number}: " + ", ".join(f"{name} {values[-1]:.2f}" for name, values in seen.items()), flush=True)
    print(f"median of {options.rounds}, {unit}:")
    for name, values in seen.items():
        line = f"  {name:10} {statistics.median(values):8.2f}"
        if options.what == "study":
            line += f"   {6 * 3600 / statistics.median(values):6.0f} trials an hour"
        if name != "foldwise":
            ratios = [peer / own for peer, own in zip(values, seen["foldwise"])]
            line += f"   foldwise is {statistics.median(ratios):.2f}x as fast ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)


if __name__ == "__main__":
    main()
