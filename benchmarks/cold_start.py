"""How long a person waits for `mnist predict`, next to loading the same network with Keras and calling predict.

python -m benchmarks.cold_start [--repeats 10]

New processes by turns, so that both meet the same noise of the machine. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mnist_utils.data.datasets import load_dataset

NETWORK = Path(__file__).parent.parent / "results" / "reference"
KERAS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy
from PIL import Image
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
picture = 255 - numpy.asarray(Image.open(sys.argv[2]).convert("L").resize((28, 28)), "float32")
print(model.predict(picture[None, ..., None], verbose=0).argmax())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "digit.png"
        Image.fromarray(255 - load_dataset("digits").x_test[0]).resize((300, 300)).save(picture)
        mnist = Path(sys.executable).with_name("mnist")
        commands = {
            "`mnist predict`": [mnist, "predict", "--model", NETWORK / "model.tflite", picture],
            "Keras: load, predict": [sys.executable, "-c", KERAS, NETWORK / "model.keras", picture],
        }
        times = {name: np.empty((repeats, 2)) for name in commands}
        for repeat in range(-1, repeats):  # the first finds the files on the disk, and is overwritten
            for name, command in commands.items():
                times[name][repeat] = _seconds(command)
    print(f"| new process to answer, {repeats} each, by turns | wall, median (least to most) | CPU, median |\n|---|---|---|")
    for name, rows in times.items():
        wall, cpu = rows.T
        print(f"| {name} | {np.median(wall):.2f} s ({wall.min():.2f} to {wall.max():.2f}) | {np.median(cpu):.2f} s |")
    ours, keras = times.values()
    print(
        f"| ratio of the medians | {np.median(keras[:, 0]) / np.median(ours[:, 0]):.1f} |"
        f" {np.median(keras[:, 1]) / np.median(ours[:, 1]):.1f} |"
    )


def _seconds(command: list[str | Path]) -> tuple[float, float]:
    """Run a command; return its wall and CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
