from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from mnist_utils._support.arrays import Images
from mnist_utils.data.inversion import PreprocessedImages
from mnist_utils.evaluation import polarity
from mnist_utils.evaluation.statistics import format_share, share_table


def corner(images: Images) -> Any:
    """Predict class 1 on dark paper, class 0 on bright paper, more confidently the further it is from grey."""
    dark = 1 - images[:, 0, 0] / 255
    return np.column_stack([1 - dark, dark])


DIGITS = np.zeros((4, 28, 28), np.uint8)
DIGITS[:, 10:20, 10:20] = 255


def test_accuracy_and_confidence_follow_the_contrast() -> None:
    found = polarity.measure_contrasts(corner, DIGITS, np.array([1, 1, 1, 0]), [1, 0.5, 0, -1])
    assert list(found.columns) == ["contrast", "accuracy", "low", "high", "confidence"]
    assert found["contrast"].tolist() == [1, 0.5, 0, -1]
    assert found["accuracy"].tolist() == [0.75, 0.75, 0.25, 0.25]
    np.testing.assert_allclose(found["confidence"], [1, 191 / 255, 128 / 255, 1])
    assert tuple(found.loc[0, ["low", "high"]]) == pytest.approx(wilson(3, 4))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Solve the quadratic equation of Wilson's interval."""
    z = 1.959963984540054
    ends = np.roots([1 + z**2 / n, -(2 * hits / n + z**2 / n), (hits / n) ** 2])
    return float(ends.min()), float(ends.max())


def test_what_is_read_is_predicted_and_what_is_refused_is_incorrect() -> None:
    def read(images: Images) -> PreprocessedImages:
        """Return black paper, but refuse the first image, as grey paper; where there is one grey, all."""
        refused = np.arange(len(images)) < (1 if np.ptp(images) else len(images))
        returned = np.zeros_like(images)
        returned[refused] = 100
        return PreprocessedImages(returned, np.ones(len(images), bool), refused)

    found = polarity.measure_contrasts(corner, DIGITS, np.ones(4, int), [-1, 0], read=read)
    assert found["accuracy"].tolist() == [0.75, 0]
    assert found["confidence"][0] == 1
    assert np.isnan(found["confidence"][1])


def test_the_sheet_and_the_mean_of_the_images_are_compared_by_their_logits() -> None:
    logits = {255: [2.0, 0.0, 1.0], 0: [-4.0, 1.0, 0.0], 100: [0.0, 1.0, 5.0]}

    def predict(images: Images) -> Any:
        return softmax([logits[int(image[5, 5])] for image in images], axis=1)

    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 100
    found = polarity.paper_logits(predict, images, ("a", "b", "c"))
    assert found.index.tolist() == ["a", "b", "c"]
    assert found.index.name == "class"
    np.testing.assert_allclose(found["empty white sheet"], [1, -1, 0], atol=1e-12)
    np.testing.assert_allclose(found["mean of the inverted images"], [-2.5, 0.5, 2], atol=1e-12)  # of -3, 2, 1 and -2, -1, 3


def test_centred_logits_undo_a_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, 10))
    found = polarity.centred_logits(softmax(logits, axis=1))
    np.testing.assert_allclose(found, logits - logits.mean(axis=1, keepdims=True), atol=1e-9)
    assert np.isfinite(polarity.centred_logits(np.array([[1.0, 0.0]], np.float32))).all()


def test_shares_have_wilson_s_interval_and_their_text() -> None:
    found = share_table({("raw", "a"): np.array([True] * 9 + [False]), ("read", "a"): np.ones(20, bool)})
    assert found.index.tolist() == [("raw", "a"), ("read", "a")]
    assert found["share"].tolist() == [0.9, 1]
    for (low, high), (hits, n) in zip(found[["low", "high"]].to_numpy(), ((9, 10), (20, 20)), strict=True):
        assert (low, high) == pytest.approx(wilson(hits, n))
    assert found["text"].tolist() == ["90 (60 to 98)", "100 (84 to 100)"]
    assert share_table({"one": np.zeros(3, bool)}).index.tolist() == ["one"]
    assert format_share(0.125, 0.1, 0.155) == "12 (10 to 16)"
