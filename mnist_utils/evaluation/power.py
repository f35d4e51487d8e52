"""What difference between two classifiers a test set can show."""

from __future__ import annotations

import math

import numpy as np


def mcnemar_power(n: int, difference: float, discordant_share: float) -> float:
    """Return the chance that `mcnemar_test` finds a difference in accuracy significant at 5 %, on n images.

    It is exact: summed over the numbers of discordant pairs, and of those that only B predicts correctly.

    Parameters
    ----------
    n : int
        Test images.
    difference : float, -`discordant_share` to `discordant_share`
        True accuracy of B minus that of A: 0.001 is a tenth of a point. For 0, the chance of a false positive.
    discordant_share : float, 0 to 1
        Share of images that only one of both predicts correctly: ``(only_a + only_b) / n`` of a `PairedComparison`.

    Raises
    ------
    ValueError
        If the difference is larger than the share, which is not possible.

    References
    ----------
    Duffy (1984), Asymptotic and exact power for the McNemar test and its analogue with R controls per case. Biometrics 40.
    """
    from scipy.stats import binom

    if not abs(difference) <= discordant_share <= 1:
        raise ValueError(
            f"given a difference of {difference} and a share of {discordant_share}; allowed: the share is larger"
        )
    if discordant_share == 0:
        return 0.0
    low, high = binom.ppf([1e-12, 1 - 1e-12], n, discordant_share)
    pairs = np.arange(low, high + 1)
    most = binom.ppf(0.025, pairs, 0.5)  # of the rarer kind, for p < 0.05
    most -= binom.cdf(most, pairs, 0.5) > 0.025
    share_b = (1 + difference / discordant_share) / 2
    significant = binom.cdf(most, pairs, share_b) + binom.sf(pairs - most - 1, pairs, share_b)
    return float(binom.pmf(pairs, n, discordant_share) @ significant)


def detectable_difference(n: int, discordant_share: float, power: float = 0.8) -> float:
    """Return the smallest difference in accuracy that McNemar's test finds significant with a given chance.

    Parameters
    ----------
    n, discordant_share
        See `mcnemar_power`.
    power : float, above 0.05 to below 1
        The wanted chance.

    Returns
    -------
    float, 0 to `discordant_share`
        NaN if n images do not suffice for any difference with this share.
    """
    from scipy.optimize import brentq

    if mcnemar_power(n, discordant_share, discordant_share) < power:
        return math.nan
    return float(brentq(lambda difference: mcnemar_power(n, difference, discordant_share) - power, 0, discordant_share))
