"""Confidence intervals and significance tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_utils import MnistError

if TYPE_CHECKING:
    import pandas as pd

ACCURACY_TOLERANCE = 1e-9  # accuracies that differ by less are equal, up to rounding of floats


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a share of `successes` in `n`.

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference. JASA 22.
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def share_table(hits: Mapping[Any, NDArray[np.bool_]]) -> pd.DataFrame:
    """Put the share of hits under each name into a table, with its interval.

    Parameters
    ----------
    hits : mapping of bool arrays, shapes (n,), n > 0
        By name; tuples make an index of several levels.

    Returns
    -------
    DataFrame
        A row for each name, in their order; columns share, low, high (Wilson's 95 % interval), 0 to 1, and text: all three
        in whole per cent.
    """
    import pandas as pd

    shares = {name: (float(hit.mean()), *wilson_interval(int(hit.sum()), len(hit))) for name, hit in hits.items()}
    table = pd.DataFrame.from_dict(shares, orient="index", columns=["share", "low", "high"])
    if all(isinstance(name, tuple) for name in hits):
        table.index = pd.MultiIndex.from_tuples(list(hits))
    return table.assign(text=[format_share(*row) for row in table.to_numpy()])


def format_share(share: float, low: float, high: float) -> str:
    """Write a share with its interval in whole per cent: ``98 (96 to 99)``."""
    return f"{100 * share:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def student_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of `values`, shape (n,), and Student's 95 % interval for it.

    The interval is NaN for a single value, and for several equal values: a few may be equal by chance.

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
    """Return the mean of accuracies and its `student_interval`, clipped to 0 to 1."""
    mean, low, high = student_interval(values)
    return mean, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def format_p_value(p: float) -> str:
    """Write a p-value as papers do: ``p = 0.03``, but ``p < 0.001``, as 0 it never is."""
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same images.

    Attributes
    ----------
    only_a, only_b : int
        Images that only A, or only B, predicts correctly.
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


def mcnemar_test(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> PairedComparison:
    """Test whether the accuracies of A and B differ: McNemar's test on the images that only one predicts correctly.

    Parameters
    ----------
    correct_a, correct_b : bool array, shape (n,)
        Whether each prediction is correct; the same images in the same order.

    References
    ----------
    McNemar (1947), Psychometrika 12; the exact form is a sign test on the discordant pairs.
    Bonett and Price (2012), Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data. J. Educational and Behavioral Statistics 37.
    """
    from scipy.stats import binomtest, norm

    if correct_a.shape != correct_b.shape or len(correct_a) == 0:
        raise ValueError(f"given shapes {correct_a.shape} and {correct_b.shape}; allowed: the same images, at least one")
    n = len(correct_a)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = share_b - share_a
    half = float(norm.ppf(0.975)) * np.sqrt((share_a + share_b - centre**2) / (n + 2))
    interval = (float(max(-1, centre - half)), float(min(1, centre + half)))
    return PairedComparison(n, only_a, only_b, (only_b - only_a) / n, interval, p_value)


def holm_correction(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct the p-values of several tests, so that the level holds for any false positive among them.

    Parameters
    ----------
    p_values : float array, shape (tests,), 0 to 1

    Returns
    -------
    float array, shape (tests,)
        To compare with the level, such as 0.05.

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
    """A comparison is not possible."""


@dataclass(frozen=True)
class PairedEffect:
    """The effect of one change, seed by seed.

    Attributes
    ----------
    a, b : str
        The two variants; the effect compares b with a.
    measure : str
        Column of the trials, see `experiments.ablations.MEASURES`.
    pairs : str
        What pairs the trials: seed or repeat.
    is_ratio : bool
        Whether the effect is b / a; otherwise it is b - a.
    values_a, values_b : tuple of float
        The measure of each variant, in the order of the seeds.
    mean : float
        Mean of the differences, or geometric mean of the ratios.
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

    Pairing removes what both trials share: from the seed, the order of the images and, for equal layers, the initial
    weights; and the load of the machine at that time. The interval is over seeds, not over images: all trials were
    evaluated on the same ones.

    Parameters
    ----------
    trials : DataFrame
        Columns variant, seed or repeat, and `measure`, as `train_variants` and `time_feeding` return.
    a, b : str
        Two variants.
    measure : str
        The column to compare.
    ratio : bool
        Compare b / a instead of b - a, for times. The interval is computed from the logarithms.

    Raises
    ------
    ComparisonError
        If a variant is missing, the seeds differ, or there are fewer than two pairs.
    """
    missing = {a, b} - set(trials["variant"])
    if missing:
        raise ComparisonError(
            f"no trials of {', '.join(sorted(missing))}; available: {', '.join(trials['variant'].unique())}"
        )
    pairs = "seed" if "seed" in trials else "repeat"
    by_seed = trials.pivot_table(index=pairs, columns="variant", values=measure)[[a, b]]
    if by_seed.isna().any(axis=None) or len(by_seed) < 2:
        raise ComparisonError(
            f"{a} and {b} have {len(by_seed.dropna())} of {len(by_seed)} {pairs}s in common; an interval needs the same "
            f"{pairs}s for both, at least two"
        )
    values_a, values_b = (by_seed[name].to_numpy(float) for name in (a, b))
    effects = np.log(values_b / values_a) if ratio else values_b - values_a
    mean, low, high = student_interval(effects)
    low, high = (mean if math.isnan(end) else end for end in (low, high))
    if ratio:
        mean, low, high = math.exp(mean), math.exp(low), math.exp(high)
    return PairedEffect(a, b, measure, pairs, ratio, tuple(values_a.tolist()), tuple(values_b.tolist()), mean, (low, high))
