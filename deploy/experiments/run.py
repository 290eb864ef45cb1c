#!/usr/bin/env python3
"""Runs the studies of plan.toml one after another and writes docs/experiments.md: the published figure, ours, the pictures and
the commands. What is finished is not run again; delete the work folder to begin anew, or name another with --work, as after a
change of a study file.

    deploy/experiments/run.py [--size laptop|full] [--workers N] [--device cuda:0] [--only A4,A5] [--page]

Needs `make build`, MNIST and FashionMNIST, and Python 3.11.
"""

import argparse
import json
import os
import platform
import shlex
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STUDIES = ROOT / "deploy/studies"
DOCS = ROOT / "docs/experiments"
REPORTS = "reports"


class Runner:
    """The commands of one size, in a folder of their own."""

    def __init__(self, args):
        self.args = args
        self.folder = args.work.resolve() / args.size
        self.folder.mkdir(parents=True, exist_ok=True)
        self.database = self.folder / "study.db"
        self.foldwise = str((ROOT / "target/release/foldwise").resolve())

    def run(self, words):
        """One command of the plan; returns how long it took. A study file is meant by its name."""
        command, *rest = shlex.split(words)
        full = [self.foldwise, command, *(str(STUDIES / word) if word.endswith(".toml") else word for word in rest)]
        full += ["--db", str(self.database)]
        if command in ("run", "fit"):
            full += ["--plain"]
            if self.args.workers:
                full += ["--workers", str(self.args.workers)]
            if self.args.device:
                full += ["--device", self.args.device]
            if self.args.size != "full" and any(word.endswith(".toml") for word in rest):
                full += ["--size", self.args.size]
        print("experiments:", "foldwise", *full[1:], file=sys.stderr, flush=True)
        started = time.monotonic()
        log = self.folder / "log.txt"
        with open(log, "a", encoding="utf-8") as out:
            done = subprocess.run(full, cwd=self.folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
            sys.exit(f"experiments: `foldwise {words}` ended with {done.returncode}:\n{tail}\nThe whole log: {log}")
        return time.monotonic() - started

    def has(self, words):
        """Whether the study of a command is there already."""
        name = Path(shlex.split(words)[1]).stem
        return self.database.exists() and bool(Record(self.database).rows("SELECT 1 FROM study WHERE name = ?", name))

    def shown(self, words):
        """A command as a person types it."""
        command, *rest = shlex.split(words)
        size = [] if self.args.size == "full" or not any(word.endswith(".toml") for word in rest) else ["--size", self.args.size]
        rest = [f"deploy/studies/{word}" if word.endswith(".toml") else word for word in rest]
        return shlex.join(["foldwise", command, *rest, *size])


class Record:
    """What the database and its artifacts say."""

    def __init__(self, database):
        self.artifacts = Path(f"{database}.artifacts")
        self.tables = sqlite3.connect(f"file:{database}?mode=ro", uri=True)

    def rows(self, sql, *values):
        return self.tables.execute(sql, values).fetchall()

    def artifact(self, study, kind):
        """The JSON of an artifact of a study, of its best trial; none if there is none."""
        found = self.rows(
            """SELECT digest FROM artifact JOIN study ON study.id = artifact.study_id JOIN trial ON trial.id = trial_id
               WHERE study.name = ? AND artifact.kind = ? AND trial.value IS NOT NULL ORDER BY trial.value LIMIT 1""", study, kind)
        return json.loads((self.artifacts / found[0][0]).read_text(encoding="utf-8")) if found else None

    def search(self, study):
        """How a search went: its trials by state, its epochs, its best trial."""
        found = self.rows("SELECT id, spec, images, running_ms FROM study WHERE name = ?", study)
        if not found:
            return None
        identity, spec, images, running = found[0]
        states = dict(self.rows("SELECT state, count(*) FROM trial WHERE study_id = ? GROUP BY state", identity))
        epochs, seconds = self.rows(
            "SELECT count(*), avg(e.seconds) FROM epoch AS e JOIN trial ON trial.id = e.trial_id WHERE study_id = ?", identity)[0]
        best = self.rows(
            "SELECT number, value FROM trial WHERE study_id = ? AND state = 'complete' ORDER BY value LIMIT 1", identity)
        params = {}
        if best:
            params = dict(self.rows(
                "SELECT p.name, p.value FROM param AS p JOIN trial ON trial.id = p.trial_id WHERE study_id = ? AND number = ?",
                identity, best[0][0]))
        return {
            "images": images, "states": states, "epochs": epochs, "seconds_per_epoch": seconds, "running_s": running / 1000,
            "best": best[0][1] if best else None, "best_trial": best[0][0] if best else None, "params": params,
            "spec": json.loads(spec),
        }

    def epochs(self, study):
        """The live epochs of a study of one trial: epoch, training and validation loss."""
        return self.rows("SELECT epoch, train_loss, val_loss FROM curve WHERE study = ? ORDER BY epoch", study)

    def by_param(self, study, name):
        """Value by the value of a param."""
        return self.rows(
            """SELECT p.value, trial.value FROM study JOIN trial ON trial.study_id = study.id JOIN param AS p ON p.trial_id = trial.id
               WHERE study.name = ? AND p.name = ? AND trial.state = 'complete' ORDER BY p.value""", study, name)


def machine(foldwise, device):
    """What the figures were measured on."""
    worker = Path(foldwise).with_name("foldwise-worker")
    found = subprocess.run([worker, "devices", "--json"], capture_output=True, text=True, check=False)
    cores = f"{os.cpu_count()} cores ({platform.machine()})"
    gpus = []
    if found.returncode == 0:
        devices = json.loads(found.stdout)
        devices = devices.get("devices", []) if isinstance(devices, dict) else devices
        gpus = [str(one.get("name", "")) for one in devices if "cuda" in json.dumps(one)]
    return f"one {gpus[0]}, {cores}" if gpus and device != "cpu" else f"{cores}, no GPU"


def study_file(name):
    """The settings of a study file."""
    return tomllib.loads((STUDIES / name).read_text(encoding="utf-8"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="laptop", help="laptop (default), or full: as the study files say")
    parser.add_argument("--workers", type=int, help="worker processes; as `foldwise run` chooses")
    parser.add_argument("--device", help="what they train on")
    parser.add_argument("--only", help="steps of the plan, such as A4,A5")
    parser.add_argument("--page", action="store_true", help="run nothing; write the page from what is there")
    parser.add_argument("--work", type=Path, default=ROOT / "target/experiments", help="where databases and reports go")
    args = parser.parse_args()

    plan = tomllib.loads((HERE / "plan.toml").read_text(encoding="utf-8"))["step"]
    results_file = DOCS / f"{args.size}.json"
    DOCS.mkdir(parents=True, exist_ok=True)
    if not args.page:
        runner = Runner(args)
        where = machine(runner.foldwise, args.device)
        wanted = args.only.split(",") if args.only else [step["id"] for step in plan]
        for step in (step for step in plan if step["id"] in wanted):
            fresh = not all(runner.has(words) for words in step["run"])
            seconds = sum(runner.run(words) for words in step["run"])
            for words in step["report"]:
                # Apart from the models, which lie in folders of the studies' names.
                words, _, out = words.partition(" --out ")
                runner.run(f"report {words} --out {REPORTS}/{out or words.split()[0]}")
            # Read anew, for several may run side by side, each with steps and a work folder of its own.
            results = json.loads(results_file.read_text(encoding="utf-8")) if results_file.exists() else {}
            # What was finished before was not trained again, and took no time now.
            if step["id"] in results and not fresh:
                seconds = results[step["id"]]["seconds"]
            results[step["id"]] = {
                "machine": where,
                "seconds": round(seconds, 1),
                "commands": [runner.shown(words) for words in step["run"] + [f"report {words}" for words in step["report"]]],
                "figures": page.figures(step["id"], Record(runner.database)),
            }
            results_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            page.copy_pictures(step, runner.folder / REPORTS, DOCS, args.size)
    page.write(plan, DOCS, ROOT / "docs/experiments.md", study_file)
    print("experiments: docs/experiments.md", file=sys.stderr)


if __name__ == "__main__":
    main()
