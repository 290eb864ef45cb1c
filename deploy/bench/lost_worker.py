#!/usr/bin/env python3
"""How long after `kill -9` of its worker a fold is in training elsewhere, while another worker has nothing to do.

    PATH=$PWD/target/release:$PATH deploy/bench/lost_worker.py [--rounds 10] [--lease 5]
"""

import argparse
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

STUDY = """
version = 1
study = { name = "lost" }
data = { dataset = "synthetic-digits", holdout = 100, limit = 1000 }
model = { network = "lab", latent_dim = 4 }
train = { epochs = 100000 }
checkpoint = { every_seconds = 0.5 }
budget = { trials = 1 }
retry = { lost = 1000 }
"""


def attempts(database):
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as tables:
        return tables.execute("SELECT attempt, worker, started_at, start_epoch FROM attempt ORDER BY attempt").fetchall()


def wait_for(what, seconds=120):
    end = time.time() + seconds
    while time.time() < end:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    sys.exit("it did not come")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--lease", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database, file = f"{folder}/lost.db", f"{folder}/lost.toml"
        with open(file, "w") as study:
            study.write(STUDY)
        started = []

        def start(*words, **options):
            process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)
            started.append(process)
            return process

        try:
            serve = subprocess.Popen(
                ["foldwise", "serve", "--db", database, "--listen", "127.0.0.1:0", "--lease", str(given.lease)],
                stderr=subprocess.PIPE, text=True)
            started.append(serve)
            url = re.search(r"http://\S+:\d+", serve.stderr.readline()).group()
            subprocess.run(["foldwise", "study", "create", file, "--coordinator", url], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            environment = {**os.environ, "FOLDWISE_DEVICE": "cpu"}
            workers = {}
            for number in range(2):
                workers[f"w{number}"] = start("foldwise-worker", "--coordinator", url, "--name", f"w{number}", env=environment)
            times = []
            for number in range(given.rounds):
                # Some epochs and a checkpoint first.
                before = len(wait_for(lambda: attempts(database)))
                time.sleep(4)
                victim = attempts(database)[-1][1]
                workers[victim].kill()
                killed = time.time()
                rows = wait_for(lambda: [row for row in attempts(database)[before:]])
                times.append(rows[-1][2] / 1000 - killed)
                print(f"round {number}: {times[-1]:.2f} s, after epoch {rows[-1][3]}", flush=True)
                name = f"w{number + 2}"
                workers[name] = start("foldwise-worker", "--coordinator", url, "--name", name, env=environment)
            print(f"lease {given.lease:g} s: median {statistics.median(times):.2f} s, at most {max(times):.2f} s")
        finally:
            for process in started:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
