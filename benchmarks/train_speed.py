"""How long training takes: our `fast`, beside the recipes of the two earlier systems, "A" and "B", in one run.

python -m benchmarks.train_speed [--short] [--write]

All three see the same 54,000 training images of MNIST (MNIST_DATA_DIR), by turns, so that other work on the machine disturbs
all alike. A's and B's trainings would take hours: after a warm-up, in which TensorFlow compiles, A is timed on some
steps and B on one epoch, and what they leave out is multiplied. Ours is timed whole, from fresh weights to the last
epoch's validation, TensorFlow's compiling and the checkpoint included.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.results import arguments, publish, where
from mnist_utils.data.datasets import Dataset
from mnist_utils.training import build, fit
from mnist_utils.training.backend import batches, keras
from mnist_utils.training.config import TrainConfig, make_config

A_STEPS = 12


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--short", action="store_true", help="one turn in place of three, 5,000 of B's images")
    options = parser.parse_args()
    publish(
        "python -m benchmarks.train_speed --write",
        _measure(1 if options.short else 3, 5_000 if options.short else 54_000),
        keep=options.write,
    )


def _measure(turns: int, b_images: int) -> str:
    machine = where()
    config, dataset = fit.load_training_data(make_config(dataset="mnist"))
    n = len(dataset.x_train)
    a, b = _Plain("branched", dataset, batch_size=32), _Plain("simple", dataset, batch_size=128)
    a.seconds(32 * 3 - 1), b.seconds(128 * 3 - 1)  # the last batch is not full: TensorFlow compiles that apart
    commands, ours, as_a, as_b = [], [], [], []
    for _ in range(turns):
        commands.append(_command())
        ours.append(_ours(config, dataset))
        as_a.append(a.seconds(32 * A_STEPS - 1) / A_STEPS * math.ceil(n / 32) * 10)
        as_b.append(b.seconds(b_images) / b_images * n * 13)
    lines = [
        f"{machine} MNIST, {n:,} training images; {turns} turn{'s' * (turns > 1)}; medians (least to most).",
        "",
        "| training | seconds | times `fast` |",
        "|---|---:|---:|",
        f"| `fast`: {_size('fast', config.epochs, config.batch_size)}; timed whole | {_spread(ours)} | 1 |",
        f"| B: {_size('simple', 13, 128)}; {b_images:,} images timed | {_spread(as_b)} | {_ratio(as_b, ours)} |",
        f"| A: {_size('branched', 10, 32)}; {A_STEPS} steps timed | {_spread(as_a)} | {_ratio(as_a, ours)} |",
        "",
        f"`mnist train`, from the command to the run recorded, figures drawn: {_spread(commands)} s.",
    ]
    return "\n".join(lines)


class _Plain:
    """A network that is trained as Keras's own examples do: float32 images in memory, Adam, `fit`.

    But it is fed as ours is, without the wait at the end of an epoch that would be multiplied here (see RESULTS.md).
    """

    def __init__(self, name: str, dataset: Dataset, *, batch_size: int) -> None:
        dropouts = {"conv_dropout": 0.25, "dense_dropout": 0.5} if name == "branched" else {}
        self._model = build.build_model(name, **dropouts)
        # jit_compile is Keras's default where it can be; it would make both several times slower still.
        self._model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
        self._x, self._y = dataset.x_train[..., None].astype("float32"), dataset.y_train
        self._batch_size = batch_size

    def seconds(self, images: int) -> float:
        start = time.perf_counter()
        self._model.fit(batches(self._batch_size, self._x[:images], self._y[:images]), shuffle=False, verbose=0)
        return time.perf_counter() - start


def _ours(config: TrainConfig, dataset: Dataset) -> float:
    keras.backend.clear_session()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fit.train(config, dataset, Path(folder), progress=False)
        return time.perf_counter() - start


def _command() -> float:
    mnist = Path(sys.executable).with_name("mnist")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [mnist, "train", "--quiet", "--dataset", "mnist", "--results", folder], check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - start


def _size(name: str, epochs: int, batch_size: int) -> str:
    return f"{build.build_model(name).count_params():,} parameters, epochs {epochs}, batch_size {batch_size}"


def _spread(seconds: list[float]) -> str:
    digits = 1 if np.median(seconds) < 100 else 0
    return f"{np.median(seconds):,.{digits}f} ({min(seconds):,.{digits}f} to {max(seconds):,.{digits}f})"


def _ratio(theirs: list[float], ours: list[float]) -> str:
    return f"{np.median(np.array(theirs) / np.array(ours)):,.0f}"


if __name__ == "__main__":
    main()
