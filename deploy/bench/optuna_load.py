#!/usr/bin/env python3
"""Intermediate values through Optuna's gRPC storage proxy over SQLite, from many clients at once: what a coordinator is for
`foldwise bench load`.

  optuna_load.py [--reports 20000] [--processes 4] [--threads 16] [--steps 100]    figures, as one JSON line

The proxy is a process of its own, with RDBStorage on a new SQLite file as Optuna sets it up. Each thread has a trial, reports
its steps one after the other as they are answered, and takes the next trial; each process has one connection. Afterwards the
reports in the database are counted. Needs: pip install optuna==5.0.0 grpcio protobuf.
"""
import argparse
import json
import multiprocessing
import os
import pathlib
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
import warnings

import optuna
from optuna.storages import GrpcStorageProxy, RDBStorage, run_grpc_proxy_server

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def serve(url, port):
    # Each of its ten threads waits for the others' transactions, and gives up after five seconds unless told.
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 100}})
    run_grpc_proxy_server(storage, host="127.0.0.1", port=port)


def connect(port):
    storage = GrpcStorageProxy(host="127.0.0.1", port=port)
    storage.wait_server_ready(timeout=60)
    return storage


def report(port, study, counts, steps, times, gate):
    """One process: as many threads as there are counts, each with so many reports."""
    storage = connect(port)
    seen = []

    def work(reports):
        own = []
        trial = storage.create_new_trial(study)
        gate.wait()
        for number in range(reports):
            if number and number % steps == 0:
                trial = storage.create_new_trial(study)
            started = time.perf_counter()
            storage.set_trial_intermediate_value(trial, number % steps, 1.0 / (1 + number % steps))
            own.append(time.perf_counter() - started)
        seen.extend(own)

    threads = [threading.Thread(target=work, args=(count,)) for count in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.put(seen)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    clients = options.processes * options.threads
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        database = pathlib.Path(folder).resolve() / "load.db"
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=serve, args=(f"sqlite:///{database}", port), daemon=True)
        server.start()
        study = connect(port).create_new_study([optuna.study.StudyDirection.MINIMIZE], "load")
        counts = [options.reports // clients + (n < options.reports % clients) for n in range(clients)]
        times, gate = context.Queue(), context.Barrier(clients + 1)
        processes = [
            context.Process(
                target=report,
                args=(port, study, counts[n :: options.processes], options.steps, times, gate),
            )
            for n in range(options.processes)
        ]
        for process in processes:
            process.start()
        gate.wait()
        started = time.perf_counter()
        seen = sorted(second for _ in processes for second in times.get())
        seconds = time.perf_counter() - started
        for process in processes:
            process.join()
        ticks = pathlib.Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        server.terminate()
        server.join()
        rows = sqlite3.connect(database).execute("SELECT count(*) FROM trial_intermediate_values").fetchone()[0]
    assert rows == options.reports, f"{rows} of {options.reports} reports are in the database"
    print(json.dumps({
        "clients": clients,
        "reports": options.reports,
        "seconds": seconds,
        "reports_per_second": options.reports / seconds,
        "median_ms": statistics.median(seen) * 1000,
        "p99_ms": seen[int(len(seen) * 0.99)] * 1000,
        "cpu_seconds": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"),
    }))


if __name__ == "__main__":
    main()
