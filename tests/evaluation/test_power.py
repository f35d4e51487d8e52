from __future__ import annotations

from math import comb, isnan

import numpy as np
import pytest
from scipy.stats import norm

from mnist_utils.evaluation.power import detectable_difference, mcnemar_power
from mnist_utils.evaluation.statistics import mcnemar_test


def by_enumeration(n: int, difference: float, share: float) -> float:
    """Add up the probabilities of all outcomes that the test finds significant."""
    only_a, only_b, total = (share - difference) / 2, (share + difference) / 2, 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            outcomes = np.repeat([[1, 0], [0, 1], [1, 1]], [a, b, n - a - b], axis=0).astype(bool)
            if mcnemar_test(outcomes[:, 0], outcomes[:, 1]).p_value < 0.05:
                total += comb(n, a) * comb(n - a, b) * only_a**a * only_b**b * (1 - share) ** (n - a - b)
    return total


@pytest.mark.parametrize(("n", "difference", "share"), [(6, 0.8, 1.0), (15, 0.3, 0.6), (30, -0.2, 0.3), (25, 0.0, 0.5)])
def test_power_is_the_sum_over_all_outcomes(n: int, difference: float, share: float) -> None:
    assert mcnemar_power(n, difference, share) == pytest.approx(by_enumeration(n, difference, share), abs=1e-9)


def test_power_by_hand() -> None:
    assert mcnemar_power(6, 1, 1) == pytest.approx(1)  # six of six: p = 2 / 64
    assert mcnemar_power(5, 1, 1) == 0  # five of five: p = 2 / 32
    assert mcnemar_power(6, 0.8, 1) == pytest.approx(0.9**6 + 0.1**6)
    assert mcnemar_power(100, 0, 0) == 0


def test_power_agrees_with_simulated_models() -> None:
    random, n, difference, share = np.random.default_rng(0), 2000, 0.006, 0.012
    seen = 0
    for _ in range(500):
        which = random.random(n)
        only_a, only_b = which < (share - difference) / 2, which > 1 - (share + difference) / 2
        seen += mcnemar_test(~only_b, ~only_a).p_value < 0.05
    assert seen / 500 == pytest.approx(mcnemar_power(n, difference, share), abs=0.07)


@pytest.mark.parametrize("difference", [0.001, 0.002, 0.003])
def test_power_on_ten_thousand_images_is_about_the_normal_approximation(difference: float) -> None:
    share = 0.005
    spread = np.sqrt(share - difference**2)
    wanted = norm.cdf((difference * np.sqrt(10_000) - norm.ppf(0.975) * np.sqrt(share)) / spread)
    assert mcnemar_power(10_000, difference, share) == pytest.approx(wanted, abs=0.05)


def test_a_false_positive_is_no_more_frequent_than_5_per_cent() -> None:
    for n, share in (100, 0.1), (10_000, 0.005), (10_000, 0.05):
        assert 0 < mcnemar_power(n, 0, share) <= 0.05


def test_more_than_what_both_disagree_on_is_not_possible() -> None:
    with pytest.raises(ValueError, match="the share is larger"):
        mcnemar_power(100, 0.2, 0.1)


def test_the_detectable_difference_has_the_wanted_power() -> None:
    for n, share in (10_000, 0.005), (500, 0.1):
        found = detectable_difference(n, share)
        assert 0 < found < share
        assert mcnemar_power(n, found, share) == pytest.approx(0.8, abs=1e-3)
        assert detectable_difference(n, share, 0.5) < found
        assert detectable_difference(4 * n, share) < found
    assert isnan(detectable_difference(100, 0.01))
