"""Error rates on slices of the test images, each compared with all other images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mnist_utils._support.arrays import Images
from mnist_utils.data.exploration import stroke_slant, stroke_thickness
from mnist_utils.evaluation.statistics import holm_correction, wilson_interval


def image_slices(images: Images, name: str = "") -> dict[str, NDArray[Any]]:
    """Measure what `slice_errors` slices images by: strokes, ink, and for MNIST's test images their place in the file.

    Half of MNIST's test images come from employees of the Census Bureau, half from high-school students, whose writing is
    harder to read. The two lie one after the other in the file. In other data sets, the place means nothing.

    Parameters
    ----------
    images : uint8 array, shape (n, 28, 28), n > 0
        About 1 ms each.
    name : str
        The data set's name. The halves are only added if it is ``mnist`` and there are 10,000 images.

    Returns
    -------
    dict of arrays, shape (n,)
        ``place in the test set`` (str, maybe), ``stroke thickness, pixels``, ``slant, degrees`` and ``ink, % of white``
        (floats). Thickness is NaN for an image without ink.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document recognition. Proceedings of the IEEE
    86(11), section III-A: the two sources.
    """
    found: dict[str, NDArray[Any]] = {}
    if name == "mnist" and len(images) == 10_000:
        found["place in the test set"] = np.repeat(["first half", "last half"], 5000)
    return found | {
        "stroke thickness, pixels": stroke_thickness(images),
        "slant, degrees": stroke_slant(images),
        "ink, % of white": 100 * images.mean(axis=(1, 2)) / 255,
    }


def slice_errors(incorrect: ArrayLike, groups: Mapping[str, ArrayLike], parts: int = 5) -> pd.DataFrame:
    """Compare the error rate on each slice with that on all other images.

    A small slice with a high error rate may have it by chance. So each row has an interval and a test, and the tests are
    corrected for their number.

    Parameters
    ----------
    incorrect : bool array, shape (n,), n > 0
        Whether the prediction for each image is incorrect.
    groups : mapping of arrays, shape (n,)
        By the group's name. Of bool: the images of one slice, which has the group's name. Of str: each image's slice. Of
        numbers: a value to cut at its quantiles. Images with NaN are in no slice of the group, but among the others.
    parts : int
        Slices that numbers are cut into, of about equal size: equal values stay together. Default: fifths.

    Returns
    -------
    DataFrame
        A row per slice that has images; columns group, slice (its name, or its lowest and highest value), n, errors, rate
        (share of errors, 0 to 1), low, high (Wilson's 95 % interval), odds_ratio (of an error here against all other
        images; 1 if they are equal, infinite or NaN if there is no error elsewhere), p_value (of Fisher's exact test that
        it is 1, with Holm's correction for the table).

    Raises
    ------
    ValueError
        If a group has another number of values than there are images.

    References
    ----------
    Fisher (1922), On the interpretation of chi-squared from contingency tables, and the calculation of P. Journal of the
    Royal Statistical Society 85.
    """
    wrong = np.asarray(incorrect, bool)
    rows = []
    for group, given in groups.items():
        values = np.asarray(given)
        if values.shape != wrong.shape:
            raise ValueError(f"{group}: given shape {values.shape}; allowed: {wrong.shape}, a value for each image")
        rows += [{"group": group} | _slice_row(name, inside, wrong) for name, inside in _cut(group, values, parts)]
    columns = ["group", "slice", "n", "errors", "rate", "low", "high", "odds_ratio", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_value=holm_correction(table["p_value"]))


def _cut(group: str, values: NDArray[Any], parts: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return the slices of a group that have images: their names, and which images are in them."""
    if values.dtype == bool:
        slices = [(group, values)]
    elif values.dtype.kind in "UO":
        slices = [(str(name), values == name) for name in dict.fromkeys(values.tolist())]
    else:
        known = values[~np.isnan(values)].astype(np.float64)
        edges = np.quantile(known, np.arange(1, parts) / parts) if len(known) else known
        part = np.where(np.isnan(values), -1, np.searchsorted(edges, values))
        span = np.ptp(known) if len(known) else 0.0
        digits = max(0, 2 - int(np.floor(np.log10(span)))) if span > 0 else 0
        slices = []
        for i in np.unique(part[part >= 0]):
            own = values[part == i]
            slices.append((f"{own.min():.{digits}f} to {own.max():.{digits}f}", part == i))
    return [(name, inside) for name, inside in slices if inside.any()]


def _slice_row(name: str, inside: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, Any]:
    from scipy.stats import fisher_exact

    n, errors = int(inside.sum()), int((inside & wrong).sum())
    others, errors_elsewhere = len(wrong) - n, int((~inside & wrong).sum())
    test = fisher_exact([[errors, n - errors], [errors_elsewhere, others - errors_elsewhere]])
    low, high = wilson_interval(errors, n)
    return {"slice": name, "n": n, "errors": errors, "rate": errors / n, "low": low, "high": high} | {
        "odds_ratio": float(test.statistic),
        "p_value": float(test.pvalue),
    }
