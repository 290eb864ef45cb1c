"""What is said of each part of the studies, and the page that says it."""

import json
import shutil
import sys
from pathlib import Path

SIZES = ("laptop", "full")


def at(curve, level):
    """The loss at a level that was measured."""
    if not curve:
        return None
    return next((mse for there, mse in zip(curve["level"], curve["mse"]) if abs(there - level) < 1e-9), None)


def crossing(first, second):
    """The level between 0 and the largest at which the second curve goes below the first; none if it never does."""
    if not first or not second:
        return None
    levels = sorted(set(first["level"]) & set(second["level"]))
    gaps = [at(second, level) - at(first, level) for level in levels]
    for (low, high), (before, after) in zip(zip(levels, levels[1:]), zip(gaps, gaps[1:])):
        if before > 0 >= after:
            return low + (high - low) * before / (before - after)
    return None


def figures(step, record):
    """The figures of a step, by name."""
    search = {"A2": ["mnist-random-published", "mnist-random"], "A8": ["mnist-latent-6"], "B2": ["fashion-tpe"]}
    if step in search:
        found = {name: record.search(name) for name in search[step]}
        if step == "A8":
            found["fit"] = record.artifact("mnist-latent-6-fit-evaluation", "evaluation")
        return found
    if step == "A3":
        return {"by_latent_dim": record.by_param("mnist-latent-grid", "latent_dim"), "search": record.search("mnist-latent-grid")}
    of = {"A4": "mnist-final", "A5": "mnist-corrupted", "A6": "mnist-denoiser", "A7": "mnist-codes", "B4": "fashion-final",
          "B5": "fashion-transfer", "B6": "fashion-denoiser", "B7": "fashion-variational", "B8": "fashion-final"}[step]

    def measured(study):
        return record.artifact(f"{study}-evaluation", "evaluation")

    # A5 and A7 are evaluations themselves.
    found = {"evaluation": record.artifact(of, "evaluation") or measured(of)}
    epochs = record.epochs(of)
    if epochs:
        best = min((epoch for epoch in epochs if epoch[2] is not None), key=lambda epoch: epoch[2], default=None)
        found["epochs"], found["best_epoch"] = len(epochs), best and best[0]
    if step == "A5":
        found["robust"] = measured("mnist-final-robust")
    if step == "A6":
        plain = measured("mnist-final")
        found["crossing"] = crossing(plain and plain["noise"], found["evaluation"] and found["evaluation"]["noise"])
        found["plain"] = plain
    if step == "A4":
        found["published"] = measured("mnist-final-published")
    if step == "B4":
        found["published"] = measured("fashion-final-published")
    if step == "B5":
        found["transfer"], found["found"] = record.artifact(of, "transfer"), record.artifact(f"{of}-found", "transfer")
    if step in ("B5", "B6"):
        test = record.artifact(f"{of}-found" if step == "B5" else of, "range-test")
        found["learning_rate"] = test and test["chosen"]
    if step == "B8":
        found["denoiser"] = measured("fashion-denoiser")
        found["variational"] = measured("fashion-variational")
    return found


def number(value, digits=4):
    return "-" if value is None else f"{value:.{digits}f}"


def rate(value):
    return "-" if value is None else f"{value:.2e}"


def dig(found, *keys):
    for key in keys:
        if found is None:
            return None
        found = found.get(key)
    return found


def duration(seconds):
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# What is compared: the step, what it is, what was published, what we want to reach, and how a figure is read.
ROWS = [
    ("A2", "best validation MSE, latent 4, as published", "-", "-",
     lambda f: number(dig(f, "mnist-random-published", "best"), 5)),
    ("A2", "the same search, pruned: best, epochs trained", "-", "-",
     lambda f: f"{number(dig(f, 'mnist-random', 'best'), 5)}, {dig(f, 'mnist-random', 'epochs')} of "
               f"{dig(f, 'mnist-random-published', 'epochs')}"),
    ("A3", "validation MSE at latent 2, 6 and 16", "a figure", "-",
     lambda f: ", ".join(number(dict(map(tuple, f["by_latent_dim"])).get(dim)) for dim in (2, 6, 16))),
    ("A4", "test MSE, lab network, latent 6", "0.028", "0.0225", lambda f: number(dig(f, "evaluation", "mse"))),
    ("A4", "the same with the published params", "0.028", "-", lambda f: number(dig(f, "published", "mse"))),
    ("A4", "with those: at noise 0.45, at occlusion 0.2", "0.033, 0.05", "-",
     lambda f: f"{number(at(dig(f, 'published', 'noise'), 0.45))}, {number(at(dig(f, 'published', 'occlusion'), 0.2))}"),
    ("A5", "test MSE at noise 0.45", "0.033", "-", lambda f: number(at(dig(f, "evaluation", "noise"), 0.45))),
    ("A5", "test MSE at occlusion 0.2", "0.05", "-", lambda f: number(at(dig(f, "evaluation", "occlusion"), 0.2))),
    ("A5", "with dropout and L2: clean, at noise 0.45, at occlusion 0.2", "-, 0.033, 0.05", "-",
     lambda f: ", ".join(number(figure) for figure in (dig(f, "robust", "mse"), at(dig(f, "robust", "noise"), 0.45),
                                                       at(dig(f, "robust", "occlusion"), 0.2)))),
    ("A6", "denoiser, test MSE at noise 0.45", "0.0304", "0.027", lambda f: number(at(dig(f, "evaluation", "noise"), 0.45))),
    ("A6", "the noise at which it becomes better than A4", "a figure", "-", lambda f: number(f["crossing"], 3)),
    ("A7", "10-nearest-neighbor accuracy of the codes", "-", "-", lambda f: number(dig(f, "evaluation", "knn_accuracy"), 3)),
    ("A8", "test MSE, latent 6, the network that our search found", "-", "0.020", lambda f: number(dig(f, "fit", "mse"))),
    ("B2", "best validation MSE, trials, epochs", "-", "-",
     lambda f: f"{number(dig(f, 'fashion-tpe', 'best'), 5)}, {sum(dig(f, 'fashion-tpe', 'states').values())}, "
               f"{dig(f, 'fashion-tpe', 'epochs')}"),
    ("B4", "test MSE, latent 30, published params", "not printed", "-", lambda f: number(dig(f, "published", "mse"), 5)),
    ("B4", "test MSE, the same network, our params", "-", "less", lambda f: number(dig(f, "evaluation", "mse"), 5)),
    ("B5", "test accuracy", "0.901", "0.905", lambda f: number(dig(f, "transfer", "accuracy"))),
    ("B5", "test loss (cross entropy)", "0.278", "0.27", lambda f: number(dig(f, "transfer", "loss"))),
    ("B5", "learning rate by the range test; accuracy and loss with it", "3.31e-3", "-",
     lambda f: f"{rate(f['learning_rate'])}; {number(dig(f, 'found', 'accuracy'))}, {number(dig(f, 'found', 'loss'))}"),
    ("B6", "test MSE under its own corruptions, clean", "-", "-",
     lambda f: f"{number(dig(f, 'evaluation', 'own_corruption_mse'))}, {number(dig(f, 'evaluation', 'mse'))}"),
    ("B7", "test MSE per pixel, KL divergence", "-", "-",
     lambda f: f"{number(dig(f, 'evaluation', 'mse'))}, {number(dig(f, 'evaluation', 'kl'), 1)}"),
    ("B8", "neighbor accuracy of the codes: plain, denoiser, variational", "shown", "-",
     lambda f: ", ".join(number(dig(f, one, "knn_accuracy"), 3) for one in ("evaluation", "denoiser", "variational"))),
    ("B8", "silhouette of the codes: plain, denoiser, variational", "shown", "-",
     lambda f: ", ".join(number(dig(f, one, "silhouette"), 3) for one in ("evaluation", "denoiser", "variational"))),
]


def copy_pictures(step, folder, docs, size):
    """The pictures of a step, each as PNG, which shows the same everywhere."""
    target = docs / size
    target.mkdir(parents=True, exist_ok=True)
    for picture in step["pictures"]:
        source = folder / f"{picture}.png"
        if not source.exists():
            raise SystemExit(f"experiments: step {step['id']} made no picture {source}")
        shutil.copyfile(source, target / f"{picture.replace('/', '-')}.png")


def whole_time(file, result, study_file):
    """Seconds that the full size of a search would take on the machine that ran a smaller one, without pruning and early
    stopping, from the seconds of its epochs."""
    spec = study_file(file)
    images = {"mnist": 60000, "fashion-mnist": 60000}[spec["data"]["dataset"]]
    trials = spec.get("budget", {}).get("trials")
    if trials is None:
        trials = len(spec["space"]["latent_dim"]["choice"])
    folds = spec["data"].get("folds", 1)
    seconds = result["seconds_per_epoch"] * images / result["images"]
    return trials * folds * spec["train"]["epochs"] * seconds


SEARCHES = {"A2": [("mnist-random-published.toml", "mnist-random-published")], "B2": [("fashion-tpe.toml", "fashion-tpe")],
            "A3": [("mnist-latent-grid.toml", "search")]}


def write(plan, docs, target, study_file):
    """docs/experiments.md, from what is stored of each size."""
    results = {size: json.loads((docs / f"{size}.json").read_text(encoding="utf-8"))
               for size in SIZES if (docs / f"{size}.json").exists()}
    lines = ["# The two published studies", "",
             "Two studies of autoencoders, one on MNIST (A) and one on FashionMNIST (B), each part a study file in",
             "[deploy/studies](../deploy/studies). `make experiments` runs all of them in the size that ends on a laptop and writes",
             "this page; `deploy/experiments/run.py --size full` runs them as they stand. Test figures are over all 10,000 test images, none",
             "of which had a say in anything but A5's second network; those of A2, A3 and B2 are over validation images. MSE per pixel.", ""]
    for size, found in results.items():
        spent = sum(step["seconds"] for step in found.values())
        lines.append(f"- **{size}**: {'; '.join(sorted({step['machine'] for step in found.values()}))}; {duration(spent)} in all.")
    lines += ["", "| | | published | reach | " + " | ".join(results) + " |", "|---|---|---|---|" + "---|" * len(results)]
    for step, what, published, reach, read in ROWS:
        cells = []
        for found in results.values():
            figures_of = dig(found.get(step), "figures")
            cells.append(read(figures_of) if figures_of else "-")
        lines.append(f"| [{step}](#{step.lower()}) | {what} | {published} | {reach} | " + " | ".join(cells) + " |")
    lines.append("")
    for step in plan:
        there = {size: found[step["id"]] for size, found in results.items() if step["id"] in found}
        if not there:
            continue
        lines += [f'<a id="{step["id"].lower()}"></a>', "", f"## {step['id']}. {step['title']}", "", step["text"].strip(), "", "```sh"]
        lines += next(iter(there.values()))["commands"]
        lines += ["```", ""]
        for size, found in there.items():
            lines.append(f"- {size}: {duration(found['seconds'])}")
            for file, name in SEARCHES.get(step["id"], []) if size != "full" else []:
                result = found["figures"][name]
                lines[-1] += (f"; an epoch took {result['seconds_per_epoch']:.2f} s a worker, so that the full size of {file} would "
                              f"take one worker {duration(whole_time(file, result, study_file))} if nothing were pruned or stopped early")
        lines.append("")
        for picture in step["pictures"]:
            name = picture.replace("/", "-")
            # Of the largest size that has it.
            size = next((size for size in reversed(there) if (docs / size / f"{name}.png").exists()), None)
            if size is None:
                print(f"experiments: the page lacks {name}.png; run step {step['id']} again", file=sys.stderr)
                continue
            lines += [f"![{picture.replace('/', ': ')}](experiments/{size}/{name}.png)", ""]
    target.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")
