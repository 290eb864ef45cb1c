"""Records decisions of Optuna's PercentilePruner on random histories, for the test that replays them.

    pip install optuna==5.0.0
    python optuna_median.py > optuna_median.json

A case has the pruner's settings, the curves of its peers, the trial's own curve and, for each of its steps,
Optuna's decision. In a curve null is a step without a report and "nan" one that reported NaN. Foldwise takes NaN for
a missing value, Optuna counts it as a report; so no decision is recorded at an own NaN, peers report NaN only where
one value is enough and the trial itself only where every step is judged: elsewhere the two differ on purpose.
"""

import json
import math
import random
import warnings

import optuna

CASES = 240
STEPS = 10


def curve(rng, sign, length, missing, nan):
    """Ever better values, some of them coarse, so that there are ties."""
    level = rng.uniform(0.0, 2.0)
    values = []
    for step in range(length):
        draw = rng.random()
        if draw < missing:
            values.append(None)
        elif draw < missing + nan:
            values.append("nan")
        else:
            loss = level + 2.0 / (step + 1) + rng.gauss(0.0, 0.2)
            values.append(sign * round(loss, rng.choice([1, 3])))
    return values


def reports(values):
    return {step: float(value) for step, value in enumerate(values) if value is not None}


def case(rng):
    settings = {
        "direction": rng.choice(["minimize", "maximize"]),
        "percentile": rng.choice([50.0, 50.0, 25.0, 90.0, 33.3]),
        "startup_trials": rng.choice([0, 1, 3, 5]),
        "warmup_epochs": rng.choice([0, 0, 1, 3]),
        "interval_epochs": rng.choice([1, 1, 2, 3]),
        "min_peers": rng.choice([1, 1, 2, 5]),
    }
    pruner = optuna.pruners.PercentilePruner(
        settings["percentile"],
        n_startup_trials=settings["startup_trials"],
        n_warmup_steps=settings["warmup_epochs"],
        interval_steps=settings["interval_epochs"],
        n_min_trials=settings["min_peers"],
    )
    study = optuna.create_study(direction=settings["direction"], pruner=pruner)
    missing = rng.choice([0.0, 0.0, 0.2, 0.5])
    nan = rng.choice([0.0, 0.0, 0.2])
    sign = 1.0 if settings["direction"] == "minimize" else -1.0
    peers = []
    for _ in range(rng.choice([0, 1, 2, 4, 7, 12])):
        peer_nan = nan if settings["min_peers"] == 1 else 0.0
        values = curve(rng, sign, rng.choice([STEPS, STEPS, 4]), missing, peer_nan)
        pruned = rng.random() < 0.2
        if not pruned:
            peers.append(values)
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        study.add_trial(optuna.create_trial(state=state, value=1.0, intermediate_values=reports(values)))
    own = curve(rng, sign, STEPS, missing, nan if settings["interval_epochs"] == 1 else 0.0)
    trial = study.ask()
    decisions = []
    for step, value in enumerate(own):
        if value is None:
            decisions.append(None)
            continue
        trial.report(float(value), step)
        decided = bool(trial.should_prune())
        decisions.append(None if math.isnan(float(value)) else decided)
    return settings | {"peers": peers, "own": own, "prune": decisions}


def main():
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(1)
    cases = [json.dumps(case(rng), separators=(",", ":")) for _ in range(CASES)]
    print('{"optuna":"%s","cases":[\n%s\n]}' % (optuna.__version__, ",\n".join(cases)))


main()
