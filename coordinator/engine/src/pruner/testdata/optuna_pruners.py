"""Records decisions of Optuna's pruners on random histories, for the test that replays them.

    pip install optuna==5.0.0
    python optuna_pruners.py > optuna_pruners.json

A case has the study's direction, the pruner as a section of a study file, and what happened: [trial, what, prune], where
what is the next report of a trial, null for a step without one, or "complete" at its end, and prune is what Optuna
decided on it (null where nothing was asked). A trial ends when it is pruned. "nan" and "inf" stand for these numbers.
The brackets of a Hyperband case are Optuna's, by trial.
"""

import json
import random
import warnings

import optuna
from optuna import pruners
from optuna.trial import TrialState

STEPS = 12


def percentile(rng, peers=3):
    section = {
        "kind": "percentile",
        "percentile": rng.choice([50.0, 50.0, 25.0, 90.0, 33.3]),
        "startup_trials": rng.choice([0, 1, 3, 5]),
        "warmup_epochs": rng.choice([0, 0, 1, 3]),
        "interval_epochs": rng.choice([1, 1, 2, 3]),
        "min_peers": rng.choice([1, 1, 2, peers]),
    }
    return section, pruners.PercentilePruner(
        section["percentile"],
        n_startup_trials=section["startup_trials"],
        n_warmup_steps=section["warmup_epochs"],
        interval_steps=section["interval_epochs"],
        n_min_trials=section["min_peers"],
    )


def median(rng):
    section = {
        "kind": "median",
        "startup_trials": rng.choice([0, 1, 3, 5]),
        "warmup_epochs": rng.choice([0, 0, 1, 3]),
        "interval_epochs": rng.choice([1, 1, 2, 3]),
        "min_peers": rng.choice([1, 1, 2, 4]),
    }
    return section, pruners.MedianPruner(
        n_startup_trials=section["startup_trials"],
        n_warmup_steps=section["warmup_epochs"],
        interval_steps=section["interval_epochs"],
        n_min_trials=section["min_peers"],
    )


def patient(rng):
    patience = {"patience": rng.choice([0, 1, 2, 4]), "min_delta": rng.choice([0.0, 0.0, 0.1])}
    section, wrapped = percentile(rng) if rng.random() < 0.5 else ({"kind": "patience"}, None)
    return section | patience, pruners.PatientPruner(wrapped, **patience)


def threshold(rng):
    lower, upper = sorted([rng.uniform(-3.0, 4.0), rng.uniform(-3.0, 4.0)])
    section = {"kind": "threshold", "lower": lower, "upper": upper}
    section.pop(rng.choice(["lower", "upper", "kind"]), None)
    section |= {
        "kind": "threshold",
        "warmup_epochs": rng.choice([0, 0, 2]),
        "interval_epochs": rng.choice([1, 1, 3]),
    }
    return section, pruners.ThresholdPruner(
        lower=section.get("lower"),
        upper=section.get("upper"),
        n_warmup_steps=section["warmup_epochs"],
        interval_steps=section["interval_epochs"],
    )


def successive_halving(rng):
    section = {
        "kind": "successive-halving",
        "min_resource": rng.choice([1, 1, 2, 3]),
        "reduction_factor": rng.choice([2, 3, 4]),
        "min_early_stopping_rate": rng.choice([0, 0, 1]),
        "bootstrap_trials": rng.choice([0, 0, 2]),
    }
    return section, pruners.SuccessiveHalvingPruner(
        min_resource=section["min_resource"],
        reduction_factor=section["reduction_factor"],
        min_early_stopping_rate=section["min_early_stopping_rate"],
        bootstrap_count=section["bootstrap_trials"],
    )


def hyperband(rng):
    section = {
        "kind": "hyperband",
        "min_resource": rng.choice([1, 1, 2]),
        "max_resource": rng.choice([7, 10, STEPS]),
        "reduction_factor": rng.choice([2, 3]),
        "bootstrap_trials": rng.choice([0, 0, 1]),
    }
    return section, pruners.HyperbandPruner(
        min_resource=section["min_resource"],
        max_resource=section["max_resource"],
        reduction_factor=section["reduction_factor"],
        bootstrap_count=section["bootstrap_trials"],
    )


def curve(rng, sign, missing, nan):
    """Ever better values, some of them coarse, so that there are ties; now and then none, NaN or infinity."""
    level = rng.uniform(0.0, 2.0)
    values = []
    for step in range(rng.choice([STEPS, STEPS, STEPS, 5])):
        draw = rng.random()
        if draw < missing:
            values.append(None)
        elif draw < missing + nan:
            values.append(rng.choice(["nan", "nan", "nan", "inf"]))
        else:
            loss = level + 2.0 / (step + 1) + rng.gauss(0.0, 0.2)
            values.append(sign * round(loss, rng.choice([1, 3])))
    return values


def case(rng, name, make, first_step):
    section, pruner = make(rng)
    direction = rng.choice(["minimize", "maximize"])
    # Optuna draws the brackets of Hyperband from the study's name.
    study = optuna.create_study(study_name=name, direction=direction, pruner=pruner)
    sign = 1.0 if direction == "minimize" else -1.0
    missing = rng.choice([0.0, 0.0, 0.2, 0.5])
    nan = rng.choice([0.0, 0.0, 0.1, 0.3])
    count = rng.choice([6, 10, 16])
    curves = [curve(rng, sign, missing, nan) for _ in range(count)]
    abreast = rng.choice([1, 2, 5])
    trials = {}
    events = []
    while curves or trials:
        while curves and len(trials) < abreast:
            trial = study.ask()
            trials[trial.number] = (trial, curves.pop(0), 0)
        number = rng.choice(sorted(trials))
        trial, values, step = trials[number]
        if step == len(values):
            study.tell(trial, 1.0)
            events.append([number, "complete", None])
            del trials[number]
            continue
        value = values[step]
        trials[number] = (trial, values, step + 1)
        if value is None:
            events.append([number, None, None])
            continue
        trial.report(float(value), first_step + step)
        prune = bool(trial.should_prune())
        events.append([number, value, prune])
        if prune:
            study.tell(trial, state=TrialState.PRUNED)
            del trials[number]
    recorded = {"direction": direction, "pruner": section, "events": events}
    if isinstance(pruner, pruners.HyperbandPruner):
        recorded["shares"] = pruner._trial_allocation_budgets
        recorded["brackets"] = [pruner._get_bracket_id(study, trial) for trial in study.get_trials()]
    return recorded


def main():
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(1)
    # Epoch 1 is step 0 for warm-ups, but resource 1.
    kinds = [(percentile, 0, 40), (median, 0, 25), (patient, 0, 45), (threshold, 0, 20)]
    kinds += [(successive_halving, 1, 45), (hyperband, 1, 30)]
    kinds = [(make, first) for make, first, count in kinds for _ in range(count)]
    cases = [case(rng, f"case {number}", *kind) for number, kind in enumerate(kinds)]
    lines = [json.dumps(recorded, separators=(",", ":")) for recorded in cases]
    print('{"optuna":"%s","cases":[\n%s\n]}' % (optuna.__version__, ",\n".join(lines)))


main()
