from __future__ import annotations

import numpy as np

from mnist_utils.data.outliers import draw_outliers


def test_each_has_ink_placed_as_mnist_places_its_digits_and_no_two_are_alike() -> None:
    drawn = draw_outliers(300, np.random.default_rng(0))
    assert drawn.shape == (300, 28, 28)
    assert drawn.dtype == np.uint8
    assert len(np.unique(drawn, axis=0)) > 290  # a square is a square
    assert (drawn.max(axis=(1, 2)) > 100).all()
    for image in drawn:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 20


def test_the_seed_determines_them() -> None:
    first, again, other = (draw_outliers(20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_none_are_drawn_if_none_are_wanted() -> None:
    assert draw_outliers(0, np.random.default_rng(0)).shape == (0, 28, 28)


def test_few_are_as_narrow_as_a_one() -> None:
    """An image that could be a 1 must not be learnt as no digit."""
    drawn = draw_outliers(600, np.random.default_rng(0)) > 100
    narrow = [np.ptp(np.flatnonzero(image.any(axis=0))) + 1 <= 4 for image in drawn]
    assert np.mean(narrow) < 0.01
