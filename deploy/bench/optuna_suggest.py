#!/usr/bin/env python3
"""The time of one suggestion by Optuna's TPESampler() in the space of suggest.toml, as `foldwise bench suggest` takes it:
the oldest of the trials that run is told, the next one is asked for, and all its params are suggested.

  optuna_suggest.py [--trials 1000] [--running 64] [--suggestions 50]   milliseconds, as one JSON line

Trials are in memory: with a database Optuna takes longer. Needs: pip install optuna==5.0.0.
"""
import argparse
import json
import math
import pathlib
import statistics
import time
import tomllib
from collections import deque

import optuna

STUDY = pathlib.Path(__file__).with_name("suggest.toml")


def suggest(trial, name, param):
    if "choice" in param:
        return trial.suggest_categorical(name, param["choice"])
    if "bool" in param:
        return trial.suggest_categorical(name, [False, True])
    how = {key: param[key] for key in ("log", "step") if key in param}
    if "int" in param:
        return trial.suggest_int(name, *param["int"], **how)
    return trial.suggest_float(name, *param["float"], **how)


def ask(study, space):
    trial = study.ask()
    params = {}
    for name, param in space:
        if all(params.get(other) == value for other, value in param.get("when", {}).items()):
            params[name] = suggest(trial, name, param)
    return trial, params


def value(params):
    def of(value):
        if isinstance(value, bool):
            return float(value)
        return len(value) / 10 if isinstance(value, str) else math.log10(abs(value) + 0.01) ** 2
    return sum(map(of, params.values()))


def times(trials, running, suggestions):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A condition comes after what it depends on.
    space = sorted(tomllib.loads(STUDY.read_text())["space"].items(), key=lambda item: "when" in item[1])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials):
        trial, params = ask(study, space)
        study.tell(trial, value(params))
    queue = deque(ask(study, space) for _ in range(running))
    study.sampler = optuna.samplers.TPESampler(seed=0)
    taken = []
    for _ in range(suggestions + 1):
        trial, params = queue.popleft()
        finished = value(params)
        begin = time.perf_counter()
        study.tell(trial, finished)
        queue.append(ask(study, space))
        taken.append(1e3 * (time.perf_counter() - begin))
    return taken[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--running", type=int, default=64)
    parser.add_argument("--suggestions", type=int, default=50)
    options = parser.parse_args()
    taken = sorted(times(options.trials, options.running, options.suggestions))
    print(json.dumps({"trials": options.trials, "running": options.running, "suggestions": len(taken),
                      "median_ms": statistics.median(taken), "max_ms": taken[-1]}))


if __name__ == "__main__":
    main()
