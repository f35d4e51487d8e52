"""Intervals and tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_utils import MnistError

if TYPE_CHECKING:
    import pandas as pd

ACCURACY_TOLERANCE = 1e-9  # accuracies that differ by less are the same, but for the last digits of a float


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval for a share of `right` in `n`.

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference. JASA 22.
    """
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def student_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of `values`, shape (n,), and Student's 95 % interval for it.

    NaN in place of the interval for one value, and for several that agree: a few may do so by chance.

    References
    ----------
    Student (1908), The probable error of a mean. Biometrika 6.
    """
    from scipy.stats import t

    mean = float(values.mean())
    if len(values) < 2 or np.ptp(values) < ACCURACY_TOLERANCE:
        return mean, math.nan, math.nan
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def accuracy_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of accuracies, 0 to 1, and its `student_interval`, within 0 to 1."""
    mean, low, high = student_interval(values)
    return mean, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same images.

    Attributes
    ----------
    only_a, only_b : int
        Images that only the one, only the other, answers right.
    difference : float
        Accuracy of B minus accuracy of A.
    difference_interval : (float, float)
        95 % interval for it.
    p_value : float
        Of McNemar's exact test that neither is better.
    """

    n: int
    only_a: int
    only_b: int
    difference: float
    difference_interval: tuple[float, float]
    p_value: float


def mcnemar_test(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> PairedComparison:
    """Say whether B is really better than A: McNemar's test on the images where they differ.

    Parameters
    ----------
    right_a, right_b : bool array, shape (n,)
        Whether each image was answered right; the same images in the same order.

    References
    ----------
    McNemar (1947), Psychometrika 12; the exact form is a sign test on the discordant pairs.
    Bonett and Price (2012), Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data. J. Educational and Behavioral Statistics 37.
    """
    from scipy.stats import binomtest, norm

    if right_a.shape != right_b.shape or len(right_a) == 0:
        raise ValueError(f"shapes {right_a.shape} and {right_b.shape}; wanted the same images in both, at least one")
    n = len(right_a)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = share_b - share_a
    half = float(norm.ppf(0.975)) * np.sqrt((share_a + share_b - centre**2) / (n + 2))
    interval = (float(max(-1, centre - half)), float(min(1, centre + half)))
    return PairedComparison(n, only_a, only_b, (only_b - only_a) / n, interval, p_value)


def holm_correction(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct the p-values of several tests, so that the chance of any false alarm stays at the level of one.

    Parameters
    ----------
    p_values : float array, shape (tests,), 0 to 1

    Returns
    -------
    float array, shape (tests,)
        To be compared with the level, 0.05 say, as a single test's.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6.
    """
    given = np.asarray(p_values, np.float64)
    order = given.argsort(kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


class ComparisonError(MnistError):
    """A comparison that cannot be made."""


@dataclass(frozen=True)
class PairedEffect:
    """What changing one thing did, seed by seed.

    Attributes
    ----------
    a, b : str
        The two variants; the effect is b's measure against a's.
    measure : str
        Column of the trials, see `MEASURES`.
    pairs : str
        What makes a pair: seed or repeat.
    is_ratio : bool
        Whether the effect is b / a; otherwise it is b - a.
    values_a, values_b : tuple of float
        The measure of each variant, in the order of the seeds.
    mean : float
        Of the differences; of ratios, the geometric mean.
    interval : (float, float)
        95 % interval for it.
    """

    a: str
    b: str
    measure: str
    pairs: str
    is_ratio: bool
    values_a: tuple[float, ...]
    values_b: tuple[float, ...]
    mean: float
    interval: tuple[float, float]

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.values_a)

    @property
    def effects(self) -> tuple[float, ...]:
        """Difference or ratio of each pair."""
        pairs = zip(self.values_a, self.values_b, strict=True)
        return tuple(b / a if self.is_ratio else b - a for a, b in pairs)


def paired_effect(trials: pd.DataFrame, a: str, b: str, measure: str = "accuracy", *, ratio: bool = False) -> PairedEffect:
    """Compare two variants, seed by seed: the mean of the differences b - a with Student's interval.

    Paired, because whatever the same seed gives to both (the order of the images; where the layers are the same, the first
    weights) and whatever the machine does at that hour moves both, and drops out of the difference. The interval
    speaks of other seeds, not of other images: all trials were tested on the same ones.

    Parameters
    ----------
    trials : DataFrame
        Columns variant, seed or repeat, and `measure`, as `train_variants` and `time_feeding` return.
    a, b : str
        Two variants.
    measure : str
        The column to compare.
    ratio : bool
        Compare b / a in place of b - a: for times. The interval is made of the logarithms.

    Raises
    ------
    ComparisonError
        If a variant is missing, the seeds differ, or there are fewer than two: one pair has no spread.

    """
    missing = {a, b} - set(trials["variant"])
    if missing:
        raise ComparisonError(
            f"no trials of {', '.join(sorted(missing))}; there are {', '.join(trials['variant'].unique())}"
        )
    pairs = "seed" if "seed" in trials else "repeat"
    by_seed = trials.pivot_table(index=pairs, columns="variant", values=measure)[[a, b]]
    if by_seed.isna().any(axis=None) or len(by_seed) < 2:
        raise ComparisonError(
            f"{a} and {b} were both tried with {len(by_seed.dropna())} of {len(by_seed)} {pairs}s; an interval needs "
            f"the same {pairs}s for both, two at least"
        )
    values_a, values_b = (by_seed[name].to_numpy(float) for name in (a, b))
    effects = np.log(values_b / values_a) if ratio else values_b - values_a
    mean, low, high = student_interval(effects)
    low, high = (mean if math.isnan(end) else end for end in (low, high))
    if ratio:
        mean, low, high = math.exp(mean), math.exp(low), math.exp(high)
    return PairedEffect(a, b, measure, pairs, ratio, tuple(values_a.tolist()), tuple(values_b.tolist()), mean, (low, high))
