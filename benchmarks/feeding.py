"""What the end of an epoch waits for: the same network fed with arrays, as Keras does it, and by `training.backend.batches`.

python -m benchmarks.feeding [--epochs 6] [--write]

Needs real MNIST (MNIST_DATA_DIR).
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.results import arguments, publish, where
from mnist_utils.training.backend import batches
from mnist_utils.training.fit import compile_model, epoch_images, prepare_training


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=6, help="epochs of each, in turns")
    options = parser.parse_args()
    publish("python -m benchmarks.feeding --write", _measure(options.epochs), keep=options.write)


def _measure(epochs: int) -> str:
    machine = where()
    config, dataset = prepare_training(dataset="mnist")
    model = compile_model(config, len(dataset.x_train))
    x, y = epoch_images(dataset.x_train, dataset.y_train, config, 0)
    x, size = x[..., None], config.batch_size
    ways = {
        "arrays, as Keras feeds them": lambda n: model.fit(x[:n], y[:n], batch_size=size, shuffle=False, verbose=0),
        "`training.backend.batches`": lambda n: model.fit(batches(size, x[:n], y[:n]), shuffle=False, verbose=0),
    }
    walls: dict[str, list[float]] = {way: [] for way in ways}
    works: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways:  # compiles
        ways[way](12 * size - 1)
    for _ in range(epochs):
        for way, fit in ways.items():
            wall, work = time.perf_counter(), time.process_time()
            fit(len(x))
            walls[way].append(time.perf_counter() - wall)
            works[way].append(time.process_time() - work)
    lines = [
        f"{machine} `fast` on MNIST, {len(x):,} images, batch {size}; {epochs} epochs of each, in turns.",
        "",
        "| fed with | seconds an epoch, one after the other | median | of the processors, median |",
        "|---|---|---:|---:|",
    ]
    for way, seconds in walls.items():
        each = ", ".join(f"{second:.1f}" for second in seconds)
        lines.append(f"| {way} | {each} | {np.median(seconds):.1f} | {np.median(works[way]):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
