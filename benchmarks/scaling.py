"""How the time of training grows: with the number of images, the size of the batch, one or two threads, and augmentation.

python -m benchmarks.scaling [--short] [--write]

Each number of threads is a process of its own, for TensorFlow takes it only before its first work. Needs real MNIST
(MNIST_DATA_DIR).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import get_args

import numpy as np

from benchmarks.results import arguments, publish, where
from mnist_utils.data.augmentation import augment
from mnist_utils.data.datasets import load_dataset
from mnist_utils.training.config import Augment

IMAGES = (1_000, 3_000, 10_000, 30_000, 54_000)
BATCHES = (32, 64, 128, 256, 512, 1024)
THREADS = (1, 2)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--short", action="store_true", help="10,000 images at most, a turn in place of three")
    parser.add_argument("--inner", help=argparse.SUPPRESS)  # what a process of this one's is to measure
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(_inner(**json.loads(options.inner))))
        return
    publish("python -m benchmarks.scaling --write", _measure(short=options.short), keep=options.write)


def _measure(*, short: bool) -> str:
    machine = where()
    images = [n for n in IMAGES if n <= 10_000 or not short]
    turns = 1 if short else 3
    best: dict[tuple[int, int, int], float] = {}
    for _ in range(turns):
        for threads in THREADS:
            given = {"threads": threads, "images": images, "batches": BATCHES}
            command = [sys.executable, "-m", "benchmarks.scaling", "--inner", json.dumps(given)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for n, batch, seconds in found:
                best[n, batch, threads] = min(seconds, best.get((n, batch, threads), seconds))
    most = max(images)
    one, two = THREADS
    lines = [
        f"{machine} `fast` on MNIST, one epoch, compiled before; the shortest of {turns}.",
        "",
        f"| images, batch 128 | {one} thread, s | {two} threads, s | images/s, {two} threads | {one} / {two} threads |",
        "|---:|---:|---:|---:|---:|",
        *(_row(f"{n:,}", n, best[n, 128, one], best[n, 128, two]) for n in images),
        "",
        f"| batch, {most:,} images | {one} thread, s | {two} threads, s | images/s, {two} threads | {one} / {two} threads |",
        "|---:|---:|---:|---:|---:|",
        *(_row(f"{batch:,}", most, best[most, batch, one], best[most, batch, two]) for batch in BATCHES),
        "",
        f"| augmentation of {most:,} images, in a thread beside the training | s |",
        "|---|---:|",
        *(f"| {kind} | {min(_augmenting(kind, most) for _ in range(turns)):.2f} |" for kind in get_args(Augment)[1:]),
    ]
    return "\n".join(lines)


def _row(first: str, n: int, one: float, two: float) -> str:
    return f"| {first} | {one:.2f} | {two:.2f} | {n / two:,.0f} | {one / two:.2f} |"


def _augmenting(kind: str, n: int) -> float:
    images, random = load_dataset("mnist").x_train[:n], np.random.default_rng(0)
    start = time.perf_counter()
    augment(images, kind, random)
    return time.perf_counter() - start


def _inner(threads: int, images: list[int], batches: list[int]) -> list[tuple[int, int, float]]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)

    from mnist_utils.training import fit
    from mnist_utils.training.backend import batches as feed

    base, dataset = fit.prepare_training(dataset="mnist")

    def seconds(n: int, batch: int) -> float:
        config = base.model_copy(update={"batch_size": batch})
        model = fit.compile_model(config, n)
        x, y = fit.epoch_images(dataset.x_train[:n], dataset.y_train[:n], config, 0)
        few = min(n, batch * 12) - 1  # the last batch is not full: TensorFlow compiles that apart
        model.fit(feed(batch, x[:few, ..., None], y[:few]), shuffle=False, verbose=0)
        start = time.perf_counter()
        model.fit(feed(batch, x[..., None], y), shuffle=False, verbose=0)
        return time.perf_counter() - start

    pairs = {(n, 128) for n in images} | {(max(images), batch) for batch in batches}
    return [(n, batch, seconds(n, batch)) for n, batch in sorted(pairs)]


if __name__ == "__main__":
    main()
