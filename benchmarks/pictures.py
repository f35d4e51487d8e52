"""How many of MNIST's digits are answered right after being turned into pictures as people bring them.

MNIST_DATA_DIR=... python -m benchmarks.pictures [--n 1000] [--test] [--model RUN] [--failures sheet.png]

The digits are validation images, on which the reader may be tuned; with --test they are test images, for the record.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.statistics import wilson_interval
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.preprocessing.reader import preprocess
from mnist_utils.runs import inference
from mnist_utils.runs.find import find_model, results_dir
from tests.pictures import KINDS

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n", type=int, default=1000, help="digits for each kind")
    parser.add_argument("--test", action="store_true", help="take test images in place of validation images")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--model", help="a run, or a .tflite file [default: the reference run]")
    parser.add_argument(
        "--failures", type=Path, help="write the wrongly answered ones, as the network saw them, a row a kind"
    )
    options = parser.parse_args()
    path = find_model(options.model, results_dir())
    predict = inference.load_model(path)
    dataset = load_dataset("mnist")
    x, y = (dataset.x_test, dataset.y_test) if options.test else (dataset.x_validation, dataset.y_validation)
    chosen = np.random.default_rng(SEED).permutation(len(x))[: options.n]
    digits, labels = x[chosen], y[chosen]
    plain = predict(digits).argmax(axis=1) == labels
    part = "test" if options.test else "validation"
    print(f"network {path.parent.name}, {len(digits):,} MNIST {part} digits a kind, seed {SEED}")
    print(f"{'without the reader':20} {plain.mean():7.2%}")
    shares, sheet = [], []
    for kind in options.kinds:
        right, failures = _one_kind(kind, digits, labels, predict)
        low, high = wilson_interval(int(right.sum()), len(right))
        shares.append(right.mean())
        print(f"{kind:20} {right.mean():7.2%}  (95 % interval {low:.2%} to {high:.2%})", flush=True)
        sheet.append(np.hstack([*failures[:20], *[np.zeros((28, 28), np.uint8)] * (20 - len(failures[:20]))]))
    print(f"{'mean':20} {np.mean(shares):7.2%}")
    print(f"{'worst':20} {np.min(shares):7.2%}")
    if options.failures:
        Image.fromarray(np.vstack(sheet)).resize((20 * 56, len(sheet) * 56), Image.Resampling.NEAREST).save(options.failures)


def _one_kind(
    kind: str, digits: np.ndarray, labels: np.ndarray, predict: inference.Predict
) -> tuple[np.ndarray, list[np.ndarray]]:
    random = np.random.default_rng(SEED)
    right, failures = [], []
    for digit, label in zip(digits, labels, strict=True):
        try:
            seen = preprocess(KINDS[kind](digit, random)).image
        except ImageError:
            seen, answer = np.full((28, 28), 128, np.uint8), -1
        else:
            answer = int(predict(seen[None])[0].argmax())
        right.append(answer == label)
        if answer != label:
            failures.append(seen)
    return np.array(right), failures


if __name__ == "__main__":
    main()
