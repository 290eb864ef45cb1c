#!/usr/bin/env python3
"""Times `foldwise report` on a made-up search of many trials, 30 epochs each; a sixth of them pruned.

    FOLDWISE_DATA=../shared/data deploy/bench/report.py [TRIALS]

Needs `make build` and FashionMNIST. The study is created by Foldwise; its trials are written into the tables.
"""

import json
import math
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDWISE = ROOT / "target/release/foldwise"
TRIALS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
EPOCHS = 30


def fill(database):
    draw = random.Random(3)
    tables = sqlite3.connect(database)
    add = tables.execute
    study, spec = add("SELECT id, spec FROM study").fetchone()
    space = json.loads(spec)["space"]
    add("UPDATE study SET state = 'ended', running_ms = 5000000")
    event = add("SELECT max(seq) FROM event").fetchone()[0]
    worker = add("INSERT INTO worker (name, incarnation, device, first_seen_at, last_seen_at) VALUES ('w', 'w', 'cuda:0', 0, 0)")
    lease = add("INSERT INTO lease (worker_id, incarnation, state, granted_at) VALUES (?, 'w', 'active', 0)", (worker.lastrowid,)).lastrowid
    for number in range(TRIALS):
        params = {
            "latent_dim": draw.randrange(10, 41, 2), "linear_units": draw.randrange(128, 257, 8),
            "optimizer": draw.choice(space["optimizer"]["choice"]), "weight_decay": 10 ** draw.uniform(-7, -4),
            "instance_norm": draw.random() < 0.5, "channels": draw.choice(space["channels"]["choice"]),
            "convolutions": draw.choice(space["convolutions"]["choice"]),
        }
        value = 0.012 + 0.004 * ((params["latent_dim"] - 31) / 20) ** 2 + 0.01 * (params["optimizer"] == "sgd") + draw.gauss(0, 5e-4)
        state = "pruned" if number > 8 and draw.random() < 0.17 else "complete"
        epochs = EPOCHS if state == "complete" else draw.randrange(2, 12)
        start = number * EPOCHS * 1000
        found = value if state == "complete" else None
        trial = add("INSERT INTO trial (study_id, number, state, value, reason, created_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (study, number, state, found, "made up", start, start + 1000 * epochs)).lastrowid
        for name, value_of in params.items():
            kind = {bool: "bool", int: "int", float: "float", str: "text", list: "json"}[type(value_of)]
            stored = json.dumps(value_of) if kind == "json" else int(value_of) if kind == "bool" else value_of
            add("INSERT INTO param VALUES (?, ?, ?, ?, 'sampled')", (trial, name, kind, stored))
        add("INSERT INTO fold VALUES (?, 0, ?, ?, ?, 1)", (trial, state, found, epochs if found else None))
        add("INSERT INTO attempt VALUES (?, 0, 1, ?, 'w', 'cuda:0', ?, 0, ?, ?, NULL, NULL)",
            (trial, lease, "complete" if found else "stopped", start, start + 1000 * epochs))
        rows = [(trial, epoch, value + 0.05 * math.exp(-epoch / 4), start + 1000 * epoch, number * EPOCHS + epoch)
                for epoch in range(1, epochs + 1)]
        tables.executemany(
            "INSERT INTO epoch (trial_id, fold, attempt, epoch, value, train_loss, learning_rate, seconds, diverged, at, seq) "
            "VALUES (?1, 0, 1, ?2, ?3, ?3, 0.01, 1.0, 0, ?4, ?5)", rows)
        if not found:
            add("INSERT INTO decision (trial_id, fold, epoch, rule, own, threshold, peers, percentile, event_seq) "
                "VALUES (?, 0, ?, 'median', ?, ?, ?, 50.0, ?)", (trial, epochs, value, value * 0.85, number, event))
    tables.commit()


with tempfile.TemporaryDirectory() as folder:
    database = Path(folder) / "study.db"
    subprocess.run([FOLDWISE, "study", "create", ROOT / "deploy/studies/fashion-tpe.toml", "--db", database,
                    "--set", f"budget.trials={TRIALS}"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    fill(database)
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([FOLDWISE, "report", "fashion-tpe", "--db", database, "--out", Path(folder) / "report"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"{TRIALS} trials: {time.perf_counter() - started:.2f} s")
