from __future__ import annotations

import numpy as np
import pytest

from mnist_utils.data.drawn import draw_digits, strokes_of

LABELS = np.repeat(np.arange(10), 30).astype(np.uint8)


def test_each_is_placed_as_mnist_places_its_digits_and_no_two_are_alike() -> None:
    drawn = draw_digits(LABELS, np.random.default_rng(0))
    assert drawn.shape == (300, 28, 28)
    assert drawn.dtype == np.uint8
    assert len(np.unique(drawn, axis=0)) == 300
    assert (drawn.max(axis=(1, 2)) > 200).all()
    at = np.arange(28)
    for image in drawn:
        mass = image / image.sum()
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        assert abs(mass.sum(axis=1) @ at - 14) < 1.1
        assert abs(mass.sum(axis=0) @ at - 14) < 1.1


def test_the_seed_determines_them() -> None:
    first, again, other = (draw_digits(LABELS[:20], np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_labels_give_no_images() -> None:
    assert draw_digits(np.zeros(0, np.uint8), np.random.default_rng(0)).shape == (0, 28, 28)


@pytest.mark.parametrize(("label", "bars"), [(0, 6), (1, 2), (8, 7), (7, 3)])
def test_seven_segments_light_those_of_the_digit(label: int, bars: int) -> None:
    assert len(strokes_of(label, np.random.default_rng(0), segments=True)) == bars


def test_some_ones_have_a_flag_and_some_a_foot() -> None:
    random = np.random.default_rng(0)
    counts = np.bincount([len(strokes_of(1, random)) for _ in range(400)])
    assert counts[1:4].min() > 20  # a stem alone, with one of them, with both
