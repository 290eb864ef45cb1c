"""Optuna's fANOVA beside ours: the same trials, the importances and the seconds of both.

    python deploy/bench/optuna_importance.py --foldwise target/release/foldwise --trials 10000
    python deploy/bench/optuna_importance.py --record   # writes the numbers that the tests compare with

Needs optuna and scikit-learn.
"""

import argparse
import json
import math
import random
import subprocess
import tempfile
import time
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import create_trial

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "coordinator/src/report/importance/optuna.json"


def evaluate(columns, targets, seeds=(0,)):
    """What Optuna finds, in the order of the columns, as the mean over seeds; and the seconds of one evaluation."""
    names = [f"p{at}" for at in range(len(columns))]
    spaces = {
        name: CategoricalDistribution(list(range(column["categories"])))
        if "categories" in column
        else FloatDistribution(0.0, 1.0)
        for name, column in zip(names, columns)
    }
    study = optuna.create_study()
    rows = zip(*(column["values"] for column in columns))
    study.add_trials(
        [
            create_trial(
                params={n: int(v) if "categories" in c else v for n, c, v in zip(names, columns, row)},
                distributions=spaces,
                value=target,
            )
            for row, target in zip(rows, targets)
        ]
    )
    start = time.perf_counter()
    found = [
        optuna.importance.get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
        for seed in seeds
    ]
    seconds = (time.perf_counter() - start) / len(seeds)
    return [sum(one[name] for one in found) / len(found) for name in names], seconds


def trials(count, seed, function, numbers, categories=()):
    """Random trials of a function."""
    rng = random.Random(seed)
    columns = [{"values": [rng.random() for _ in range(count)]} for _ in range(numbers)]
    for size in categories:
        columns.append({"categories": size, "values": [float(rng.randrange(size)) for _ in range(count)]})
    targets = [function([column["values"][row] for column in columns]) for row in range(count)]
    return columns, targets


def like_a_study(x):
    """A loss as a search sees it: a valley in the learning rate, less in the others, a choice that matters."""
    optimizer = [0.0, 0.25, 0.1][int(x[5])]
    return 0.02 + 0.3 * (x[0] - 0.6) ** 2 + 0.05 * x[1] + 0.04 * x[1] * x[2] + 0.02 * math.sin(6 * x[3]) + optimizer * 0.2


CASES = [
    ("a sum", trials(150, 1, lambda x: x[0] + 2 * x[1] + 3 * x[2], 4), 0.03),
    ("a product", trials(200, 2, lambda x: (x[0] - 0.5) * (x[1] - 0.5) + x[2] / 10, 3), 0.04),
    ("a valley", trials(120, 3, lambda x: (x[0] - 0.3) ** 2 * 4 + math.exp(x[1]) / 4 + 0.1 * x[2], 5), 0.03),
    # A choice of two is the same for both; of more it is not (see the module).
    ("a choice of two", trials(150, 4, lambda x: x[0] + (0.6 if x[2] else 0.0) + 0.2 * x[1], 2, (2,)), 0.04),
]


def record():
    cases = []
    for name, (columns, targets), tolerance in CASES:
        found, _ = evaluate(columns, targets, seeds=range(5))
        columns = [{**c, "values": [round(v, 6) for v in c["values"]]} for c in columns]
        cases.append(
            {
                "name": name,
                "columns": columns,
                "targets": [round(t, 8) for t in targets],
                "importance": [round(share, 5) for share in found],
                "tolerance": tolerance,
            }
        )
    STORED.write_text(json.dumps({"optuna": optuna.__version__, "cases": cases}) + "\n")
    print(f"{len(cases)} cases in {STORED}")


def compare(foldwise, count, runs):
    columns, targets = trials(count, 7, like_a_study, 5, (3,))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.json"
        path.write_text(json.dumps({"columns": columns, "targets": targets}))
        command = [foldwise, "bench", "importance", str(path), "--runs", str(runs)]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    theirs, seconds = evaluate(columns, targets)
    print(f"{count} trials, {len(columns)} params      foldwise   optuna {optuna.__version__}")
    for at, (own, other) in enumerate(zip(ours["importance"], theirs)):
        kind = f"choice of {columns[at]['categories']}" if "categories" in columns[at] else "number"
        print(f"p{at} ({kind})".ljust(26), f"{own:8.4f}", f"{other:8.4f}")
    print("seconds".ljust(26), f"{ours['seconds']:8.2f}", f"{seconds:8.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foldwise", default=str(ROOT / "target/release/foldwise"))
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if args.record:
        record()
    else:
        compare(args.foldwise, args.trials, args.runs)


if __name__ == "__main__":
    main()
