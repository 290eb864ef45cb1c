#!/usr/bin/env python3
"""t-SNE beside scikit-learn's: the same 10,000 codes, one thread each, in turn.

  tsne.py [--perplexity 30 80] [--rounds 1]

The codes are the 10,000 test images of MNIST on their first 30 principal components. Prints the seconds of each (of the processor, so
that others on the machine disturb little, and on the clock), the ratio, and of both results the Kullback-Leibler divergence, the
share of the 10 nearest neighbors of a code that are among the 10 nearest of its point, and how many digits the 10 nearest points tell.
Both divergences are computed here, over the same affinities (scikit-learn's) and with the exact normalizer.

Needs `cargo build --release -p foldwise-worker --example embed`, FOLDWISE_DATA, and scikit-learn in the interpreter that runs it.
"""
import os

for variable in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]:
    os.environ[variable] = "1"

import argparse
import gzip
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
from sklearn.manifold import TSNE, _t_sne
from sklearn.neighbors import NearestNeighbors

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
EMBED = TARGET / "release" / "examples" / "embed"
COLUMNS = 30


def unzip(name, header):
    path = pathlib.Path(os.environ["FOLDWISE_DATA"]) / "mnist" / name
    return numpy.frombuffer(gzip.open(path).read()[header:], numpy.uint8)


def codes_and_labels():
    images = unzip("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(numpy.float32) / 255
    images -= images.mean(0)
    _, _, axes = numpy.linalg.svd(images, full_matrices=False)
    return (images @ axes[:COLUMNS].T).astype("<f4"), unzip("t10k-labels-idx1-ubyte.gz", 8)


def ours(folder, perplexity):
    command = [EMBED, folder / "codes", str(COLUMNS), str(perplexity), folder / "points"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result, numpy.fromfile(folder / "points", "<f4").reshape(-1, 2)


def theirs(codes, perplexity):
    model = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1)
    started, cpu = time.perf_counter(), time.process_time()
    points = model.fit_transform(codes)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}, points


def affinities(codes, perplexity):
    neighbors = NearestNeighbors(n_neighbors=int(3 * perplexity + 1)).fit(codes).kneighbors_graph(mode="distance")
    neighbors.data **= 2
    return _t_sne._joint_probabilities_nn(neighbors, perplexity, 0).tocoo()


def divergence(points, wanted):
    points = points.astype(numpy.float64)
    normalizer = -float(len(points))
    for part in numpy.array_split(points, 20):
        normalizer += (1 / (1 + ((part[:, None] - points[None]) ** 2).sum(-1))).sum()
    apart = 1 + ((points[wanted.row] - points[wanted.col]) ** 2).sum(1)
    return float((wanted.data * numpy.log(wanted.data * apart * normalizer)).sum())


def nearest(rows):
    return NearestNeighbors(n_neighbors=10).fit(rows).kneighbors(return_distance=False)


def kept(codes, points):
    pairs = zip(nearest(codes), nearest(points))
    return statistics.mean(len(set(left) & set(right)) / 10 for left, right in pairs)


def told(points, labels):
    near = nearest(points)
    return statistics.mean(float(numpy.bincount(labels[row]).argmax() == label) for row, label in zip(near, labels))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perplexity", type=int, nargs="+", default=[30, 80])
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    codes, labels = codes_and_labels()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        codes.tofile(folder / "codes")
        for perplexity in args.perplexity:
            wanted = affinities(codes, perplexity)
            times = {"foldwise": [], "scikit-learn": []}
            for _ in range(args.rounds):
                for stack in times:
                    took, points = ours(folder, perplexity) if stack == "foldwise" else theirs(codes, perplexity)
                    times[stack].append(took["cpu_seconds"])
                    print(
                        f"perplexity {perplexity:3} {stack:12} {took['cpu_seconds']:7.1f} s of the processor, "
                        f"{took['seconds']:7.1f} s on the clock, divergence {divergence(points, wanted):.4f}, "
                        f"neighbors kept {kept(codes, points):.4f}, digits told {told(points, labels):.4f}",
                        flush=True,
                    )
            ratios = [their / our for our, their in zip(*times.values())]
            print(f"perplexity {perplexity:3} {' and '.join(f'{ratio:.1f}x' for ratio in ratios)} as fast", flush=True)


if __name__ == "__main__":
    sys.exit(main())
