#!/usr/bin/env python3
"""What Optuna reaches on the problems of `foldwise bench search`: the figures that the command compares with.

  optuna_search.py OUT.json [--processes 2] [--problem NAME ...] [--seeds 15]   about an hour with 2 processes
  optuna_search.py --samples N                                                  params and their values, as JSON

OUT.json holds, by problem, number of trials that run at a time, and sampler, the best value after 25, 50, 100 and 150
finished trials of each seed, from the least to the largest. `tpe` is TPESampler() as Optuna 5.0.0 has it (multivariate,
constant liar), `tpe_classic` the sampler of the papers, each param on its own. The trial that was asked first is told
first. The file in the repository is coordinator/src/bench/optuna.json. Needs: pip install optuna==5.0.0.
"""
import argparse
import itertools
import json
import math
import multiprocessing
import random
import sys
import time
from collections import deque

COUNTS = [25, 50, 100, 150]
RUNNING = [1, 8]
SAMPLERS = {"tpe": {}, "tpe_classic": {"multivariate": False, "constant_liar": False}}
DIGITS = 9

# The seeds begin at 0, but here, where figures of these seeds were known before the others.
FIRST_SEED = {"branin": 1000, "hartmann6": 1000, "ae_like": 1000}

OFF_CENTER = [0.31, -0.27, 0.12, -0.44, 0.23, 0.05, -0.36, 0.41, -0.09, 0.18, -0.21, 0.37, -0.33, 0.02, 0.29, -0.48,
              0.14, -0.17, 0.26, -0.06]


def cube(p):
    return [p[f"x{i}"] for i in range(len(p))]


def moved(p, by):
    return [x - by * off for x, off in zip(cube(p), OFF_CENTER)]


def branin(p):
    x, y = p["x"], p["y"]
    valley = y - 5.1 / (4 * math.pi ** 2) * x * x + 5 / math.pi * x - 6
    return valley ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def peaks(x, widths, middles):
    total = 0.0
    for height, width, middle in zip([1, 1.2, 3, 3.2], widths, middles):
        total += height * math.exp(-sum(w * (v - m) ** 2 for w, v, m in zip(width, x, middle)))
    return total


def hartmann6(p):
    widths = [[10, 3, 17, 3.5, 1.7, 8], [.05, 10, 17, .1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, .05, 10, .1, 14]]
    middles = [[.1312, .1696, .5569, .0124, .8283, .5886], [.2329, .4135, .8307, .3736, .1004, .9991],
               [.2348, .1451, .3522, .2883, .3047, .6650], [.4047, .8828, .8732, .5743, .1091, .0381]]
    return 3.32237 - peaks(cube(p), widths, middles)


def hartmann3(p):
    widths = [[3, 10, 30], [.1, 10, 35], [3, 10, 30], [.1, 10, 35]]
    middles = [[.3689, .117, .2673], [.4699, .4387, .747], [.1091, .8732, .5547], [.0381, .5743, .8828]]
    return 3.86278 - peaks(cube(p), widths, middles)


def ae_like(p):
    rate = {"adam": -2.9, "sgd": -1.0, "adamax": -2.2}[p["opt"]]
    value = 0.012 + 0.004 * abs(math.log10(p["lr"]) - rate) ** 1.7
    value += 0.002 * max(0, math.log10(p["l2"]) + 5.0) ** 2
    value += 0.03 * (p["dropout"] - 0.08) ** 2
    value += 0.05 / p["latent"] + 0.00006 * p["latent"]
    value += {"a": 0.0, "b": 0.0011, "c": 0.002}[p["conv"]] + (0.0 if p["inorm"] else 0.0006)
    return value + 0.0015 * abs(math.log2(p["units"]) - 7.6)


def rosenbrock4(p):
    x = cube(p)
    return sum(100 * (b - a ** 2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


def ackley6(p):
    x = moved(p, 10)
    distance = math.sqrt(sum(v * v for v in x) / len(x))
    dents = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return -20 * math.exp(-0.2 * distance) - math.exp(dents) + 20 + math.e


def rastrigin5(p):
    return sum(v * v - 10 * math.cos(2 * math.pi * v) + 10 for v in moved(p, 2))


def levy8(p):
    *most, last = [1 + (x - 1) / 4 for x in cube(p)]
    value = math.sin(math.pi * most[0]) ** 2
    value += sum((w - 1) ** 2 * (1 + 10 * math.sin(math.pi * w + 1) ** 2) for w in most)
    return value + (last - 1) ** 2 * (1 + math.sin(2 * math.pi * last) ** 2)


def sphere20(p):
    return sum(v ** 2 for v in moved(p, 5))


def goldstein(p):
    x, y = cube(p)
    a = 1 + (x + y + 1) ** 2 * (19 - 14 * x + 3 * x * x - 14 * y + 6 * x * y + 3 * y * y)
    b = 30 + (2 * x - 3 * y) ** 2 * (18 - 32 * x + 12 * x * x + 48 * y - 36 * x * y + 27 * y * y)
    return a * b - 3


def styblinski6(p):
    return sum(x ** 4 - 16 * x * x + 5 * x for x in cube(p)) / 2 + 39.16616570377142 * 6


def griewank3(p):
    x = moved(p, 20)
    waves = math.prod(math.cos(v / math.sqrt(i + 1)) for i, v in enumerate(x))
    return sum(v * v for v in x) / 4000 - waves + 1


def michalewicz5(p):
    return 4.687658 - sum(math.sin(x) * math.sin((i + 1) * x * x / math.pi) ** 20 for i, x in enumerate(cube(p)))


def steps3(p):
    distance = math.sqrt(sum((x - best) ** 2 for x, best in zip(cube(p), [0.62, 0.21, 0.77])))
    return math.floor(distance * 20) / 20


def ints5(p):
    d = [p[f"n{i}"] - best for i, best in enumerate([13, 4, 17, 9, 2])]
    value = sum(v * v for v in d) / 20 + 0.15 * abs(d[0] * d[1]) + 0.1 * abs(d[2] + d[3])
    return value + (0.5 if d[4] % 3 else 0)


def choices6(p):
    best = [2, 0, 4, 1, 3, 2]
    x = ["abcde".index(p[f"c{i}"]) for i in range(6)]
    value = 0
    for i in range(6):
        value += [0, 0.3, 0.55, 0.8, 1.0][(x[i] - best[i]) % 5] * (1 + 0.3 * i)
    for i in range(5):
        value += 0 if (x[i] + x[i + 1]) % 5 == (best[i] + best[i + 1]) % 5 else 0.25
    return value


def mlp_like(p):
    rate, layers = math.log10(p["lr"]), p["layers"]
    edge = -1.3 - 0.15 * layers
    if rate > edge:
        return 2.3 + 0.1 * (rate - edge)
    activation, decay = {"relu": (0, 1), "tanh": (0.02, 0.3), "gelu": (-0.005, 1)}[p["act"]]
    best = -3.1 + 0.15 * (math.log2(p["batch"]) - 6) - 0.1 * (layers - 3)
    value = 0.005 + 0.05 * (1 - math.exp(-((rate - best) / 0.8) ** 2)) + 0.06 * max(0, best - 1.5 - rate)
    value += 0.01 * abs(layers - 4) ** 1.3 + 0.004 * (math.log2(p["width"]) - 8.5) ** 2
    value += 0.02 * (p["dropout"] - 0.2) ** 2 + activation
    return value + 0.003 * (math.log10(p["wd"]) + 4) ** 2 * decay


def branches(p):
    rate = math.log10(p["lr"])
    if p["opt"] == "sgd":
        value = 0.3 * (rate + 1.2) ** 2 + 2 * (p["mom"] - 0.87) ** 2 + 0.05 - (0.05 * p["mom"] if p["nest"] else 0)
    elif p["opt"] == "adam":
        value = 0.2 * (rate + 2.9) ** 2 + 0.1 * (math.log10(1 - p["b1"]) + 0.9) ** 2 + 0.02
    else:
        value = 0.1 * (rate + 2.0) ** 2 + 0.15
    return value + 0.5 * (p["drop"] - 0.15) ** 2 + 0.02 * abs(p["depth"] - 5)


def boosting_like(p):
    rate, trees = math.log10(p["eta"]) + 1.4, math.log2(p["trees"]) - 8.5
    value = 0.25 * rate ** 2 + 0.01 * (p["depth"] - 6) ** 2 + 0.4 * (p["sub"] - 0.8) ** 2
    value += 0.3 * (p["col"] - 0.65) ** 2 + 0.02 * abs(math.log10(p["lam"]) - 0.3)
    value += 0.015 * abs(math.log10(p["alpha"]) + 2) + 0.05 * trees ** 2 + 0.1 * rate * trees
    return value + 0.0025 * (p["mcw"] - 4) ** 2 + {"gbtree": 0, "dart": 0.01, "gblinear": 0.4}[p["booster"]]


# A param is a name, a kind and what that kind needs, and on what it depends.
def number(kind, low, high, log=False):
    return lambda trial, name: getattr(trial, f"suggest_{kind}")(name, low, high, log=log)


def real(low, high, log=False):
    return number("float", low, high, log)


def whole(low, high, log=False):
    return number("int", low, high, log)


def choice(*options):
    return lambda trial, name: trial.suggest_categorical(name, options)


def each(prefix, count, param):
    return lambda trial: {f"{prefix}{i}": param(trial, f"{prefix}{i}") for i in range(count)}


def space(**params):
    return lambda trial: {name: param(trial, name) for name, param in params.items()}


def branches_space(trial):
    always = space(opt=choice("sgd", "adam", "plain"), lr=real(1e-5, 1, True), drop=real(0, 0.6), depth=whole(1, 12))
    p = always(trial)
    if p["opt"] == "sgd":
        p |= space(mom=real(0, 0.99), nest=choice(True, False))(trial)
    if p["opt"] == "adam":
        p |= space(b1=real(0.5, 0.999))(trial)
    return p


PROBLEMS = {
    "branin": (branin, space(x=real(-5, 10), y=real(0, 15))),
    "hartmann6": (hartmann6, each("x", 6, real(0, 1))),
    "ae_like": (ae_like, space(lr=real(1e-5, 1, True), l2=real(1e-7, 1e-2, True), dropout=real(0, 0.5),
                               latent=whole(2, 64), units=whole(32, 512, True), opt=choice("adam", "sgd", "adamax"),
                               conv=choice("a", "b", "c"), inorm=choice(True, False))),
    "rosenbrock4": (rosenbrock4, each("x", 4, real(-2, 2))),
    "ackley6": (ackley6, each("x", 6, real(-15, 15))),
    "rastrigin5": (rastrigin5, each("x", 5, real(-5.12, 5.12))),
    "levy8": (levy8, each("x", 8, real(-10, 10))),
    "sphere20": (sphere20, each("x", 20, real(-5, 5))),
    "goldstein": (goldstein, each("x", 2, real(-2, 2))),
    "styblinski6": (styblinski6, each("x", 6, real(-5, 5))),
    "griewank3": (griewank3, each("x", 3, real(-50, 50))),
    "michalewicz5": (michalewicz5, each("x", 5, real(0, math.pi))),
    "hartmann3": (hartmann3, each("x", 3, real(0, 1))),
    "steps3": (steps3, each("x", 3, real(0, 1))),
    "ints5": (ints5, each("n", 5, whole(1, 20))),
    "choices6": (choices6, each("c", 6, choice(*"abcde"))),
    "mlp_like": (mlp_like, space(lr=real(1e-6, 1, True), batch=whole(8, 512, True), layers=whole(1, 8),
                                 width=whole(16, 2048, True), act=choice("relu", "tanh", "gelu"),
                                 dropout=real(0, 0.7), wd=real(1e-8, 1e-1, True))),
    "branches": (branches, branches_space),
    "boosting_like": (boosting_like, space(eta=real(1e-3, 1, True), depth=whole(2, 16), sub=real(0.3, 1),
                                           col=real(0.3, 1), lam=real(1e-4, 1e3, True), alpha=real(1e-6, 1e2, True),
                                           trees=whole(16, 2048, True), mcw=whole(1, 20),
                                           booster=choice("gbtree", "dart", "gblinear"))),
}


class Draw:
    """Stands in for a trial of Optuna's where the params are only to be drawn."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def suggest_float(self, _, low, high, log):
        if log:
            return math.exp(self.rng.uniform(math.log(low), math.log(high)))
        return self.rng.uniform(low, high)

    def suggest_int(self, _, low, high, log):
        return self.rng.randint(low, high)

    def suggest_categorical(self, _, options):
        return self.rng.choice(options)


def samples(count):
    """For each problem some params and the value there; one line each."""
    def line(name, function, params, seed):
        drawn = params(Draw(seed))
        return json.dumps({"problem": name, "params": drawn, "value": function(drawn)})
    return [line(name, *problem, seed) for name, problem in PROBLEMS.items() for seed in range(count)]


def search(job):
    """The best values after each of COUNTS."""
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name, running, sampler, seed = job
    function, params = PROBLEMS[name]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, **SAMPLERS[sampler]))
    queue, asked, told, best, after = deque(), 0, 0, math.inf, {}
    while told < COUNTS[-1]:
        while len(queue) < running and asked < COUNTS[-1]:
            trial = study.ask()
            queue.append((trial, params(trial)))
            asked += 1
        trial, p = queue.popleft()
        value = function(p)
        study.tell(trial, value)
        told, best = told + 1, min(best, value)
        if told in COUNTS:
            after[told] = best
    return job, after


def collect(names, seeds, processes):
    """Every job's result, as the file has it."""
    jobs = [(name, *how, FIRST_SEED.get(name, 0) + seed)
            for name in names for how in itertools.product(RUNNING, SAMPLERS) for seed in range(seeds)]
    values, started = {}, time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        for done, ((name, running, sampler, _), after) in enumerate(pool.imap_unordered(search, jobs), 1):
            at = values.setdefault(name, {}).setdefault(str(running), {}).setdefault(sampler, {})
            for count, best in after.items():
                at.setdefault(str(count), []).append(best)
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            print(f"\r{done} of {len(jobs)} searches, {left / 60:.0f} min left ", end="", file=sys.stderr)
    print(file=sys.stderr)
    return {name: {running: {sampler: {count: short(found[sampler][count]) for count in map(str, COUNTS)}
                             for sampler in SAMPLERS}
                   for running, found in values[name].items()}
            for name in names}


def short(values):
    return sorted(float(f"{value:.{DIGITS}g}") for value in values)


def write(path, results):
    """One line for each list of values."""
    def lines(value, indent):
        if isinstance(value, list):
            return json.dumps(value)
        inner = f",\n{' ' * indent}".join(f'"{key}": {lines(of, indent + 1)}' for key, of in value.items())
        return f"{{\n{' ' * indent}{inner}\n{' ' * (indent - 1)}}}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(lines(results, 1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?")
    parser.add_argument("--problem", action="append", choices=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--samples", type=int)
    options = parser.parse_args()
    if options.samples:
        print("[" + ",\n ".join(samples(options.samples)) + "]")
    elif options.out:
        write(options.out, collect(options.problem or list(PROBLEMS), options.seeds, options.processes))
    else:
        parser.error("say where to write the figures")


if __name__ == "__main__":
    main()
