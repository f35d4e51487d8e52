"""What is left of a network's accuracy when the pictures are not as they were in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.corruptions import MNIST_C, OTHERS, corrupt
from mnist_utils.data.datasets import Dataset
from mnist_utils.evaluation.statistics import holm_correction, mcnemar_test, wilson_interval

CLEAN = "clean"
_SAMPLES = 6


@dataclass(frozen=True)
class Robustness:
    """What `measure_robustness` found.

    Attributes
    ----------
    table : DataFrame
        A row for each change of the images (index: its name; the first is ``clean``); columns: group (clean, MNIST-C, ours
        or other data), n, accuracy, low, high (Wilson's 95 % interval), difference (accuracy minus that of the same
        images unchanged, -1 to 1), p_value (of McNemar's exact test that there is none, corrected after Holm for all of
        the table); the last two are NaN for ``clean`` and for other data, whose images are others.
    mean, mean_interval : float, (float, float)
        Accuracy over the fifteen of MNIST-C, 0 to 1, with a 95 % interval over test images: each image counts with the
        share of its fifteen forms that are answered right. NaN for a single image.
    worst : str
        Of the fifteen.
    samples : uint8 array, shape (rows of the table, 6, 28, 28); fewer where there are fewer images
        The first images of each row, changed as the network saw them.
    """

    table: pd.DataFrame
    mean: float
    mean_interval: tuple[float, float]
    worst: str
    samples: Images

    @property
    def worst_accuracy(self) -> float:
        """Accuracy, 0 to 1, of the worst of the fifteen."""
        return float(self.table["accuracy"].to_dict()[self.worst])


def measure_robustness(
    ask: Callable[[Images], NDArray[Any]],
    x: Images,
    y: Labels,
    *,
    others: tuple[Dataset, ...] = (),
    seed: int = 0,
    done: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Ask a network about images, about the same images changed in each way of `corruptions`, and about other data sets.

    Parameters
    ----------
    ask : callable
        From uint8 images of shape (n, 28, 28), white on black, to their probabilities, shape (n, 10).
    x : uint8 array, shape (n, 28, 28), n > 0
    y : integer array, shape (n,)
    others : tuple of Dataset
        Their test images are asked about as they are: digits that other people wrote and scanned.
    seed : int
        Of the corruptions.
    done : callable, optional
        Told after each step which one it was, from 1, of how many.
    """
    names = (CLEAN, *MNIST_C, *OTHERS)
    right: dict[str, NDArray[np.bool_]] = {}
    samples, shown = [], min(_SAMPLES, len(x), *(len(other.x_test) for other in others))
    asked = [(name, x, y) for name in names] + [(other.name, other.x_test, other.y_test) for other in others]
    for step, (name, images, labels) in enumerate(asked, start=1):
        changed = corrupt(images, name, seed) if name in MNIST_C | OTHERS else images
        samples.append(changed[:shown].copy())  # a view would keep them all
        right[name] = ask(changed).argmax(axis=1) == labels
        if done:
            done(step, len(asked))
    rows = [_robustness_row(name, hits, right[CLEAN] if name in names else None) for name, hits in right.items()]
    table = pd.DataFrame(rows).set_index("change")
    compared = table["p_value"].notna()
    table.loc[compared, "p_value"] = holm_correction(table.loc[compared, "p_value"])
    each = np.mean([right[name] for name in MNIST_C], axis=0)
    mean, interval = float(each.mean()), (np.nan, np.nan)
    if len(each) > 1:
        half = float(norm.ppf(0.975) * each.std(ddof=1) / np.sqrt(len(each)))
        interval = (max(0.0, mean - half), min(1.0, mean + half))
    worst = str(table.loc[list(MNIST_C), "accuracy"].idxmin())
    return Robustness(table, mean, interval, worst, np.stack(samples))


def _robustness_row(name: str, right: NDArray[np.bool_], clean: NDArray[np.bool_] | None) -> dict[str, Any]:
    group = CLEAN if name == CLEAN else "MNIST-C" if name in MNIST_C else "ours" if name in OTHERS else "other data"
    low, high = wilson_interval(int(right.sum()), len(right))
    row = {"change": name, "group": group, "n": len(right), "accuracy": right.mean(), "low": low, "high": high}
    if clean is None or name == CLEAN:
        return row | {"difference": np.nan, "p_value": np.nan}
    found = mcnemar_test(clean, right)
    return row | {"difference": found.difference, "p_value": found.p_value}
