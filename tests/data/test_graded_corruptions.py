from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.data.graded_corruptions import GRADED, SEVERITIES, corrupt_graded

NAMES = pytest.mark.parametrize("name", GRADED)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@NAMES
def test_each_severity_changes_more_than_the_one_before(name: str, digits: Dataset) -> None:
    x = digits.x_test[:100]
    changes = [np.abs(corrupt_graded(x, name, severity).astype(float) - x).mean() for severity in SEVERITIES]
    assert changes[0] > 0
    assert changes == sorted(changes)
    assert changes[4] > 1.5 * changes[0]


@NAMES
def test_the_same_seed_gives_the_same_images(name: str, digits: Dataset) -> None:
    x = digits.x_test[:5]
    before = x.copy()
    one, again, other = (corrupt_graded(x, name, 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() == (name not in ("gaussian_blur", "contrast", "pixelate", "jpeg", "quantize"))
    np.testing.assert_array_equal(x, before)
    assert one.dtype == np.uint8
    assert one.shape == x.shape


def test_strengths_are_what_they_say() -> None:
    grey = np.full((200, 28, 28), 128, np.uint8)
    half = np.zeros((1, 28, 28), np.uint8)
    half[:, :14] = 200
    noise = corrupt_graded(grey, "gaussian_noise", 1) - 128.0
    assert noise.std() == pytest.approx(0.1 * 255, rel=0.02)
    speckle = corrupt_graded(grey, "speckle_noise", 1) - 128.0
    assert speckle.std() == pytest.approx(0.3 * 128, rel=0.02)
    assert np.unique(corrupt_graded(half, "contrast", 4)).tolist() == [80, 120]  # the mean, 100, and a fifth of 100
    ramp = np.tile(np.arange(28, dtype=np.uint8) * 9, (1, 28, 1))
    assert np.unique(corrupt_graded(ramp, "quantize", 5)).tolist() == [0, 255]
    assert len(np.unique(corrupt_graded(ramp, "quantize", 1))) == 8
    blocks = corrupt_graded(ramp, "pixelate", 1)[0]  # 14 x 14
    assert (blocks[::2, ::2] == blocks[1::2, 1::2]).all()
    assert len(np.unique(blocks)) == 14
    dot = np.zeros((1, 28, 28), np.uint8)
    dot[0, 14, 14] = 255
    blurred = corrupt_graded(dot, "gaussian_blur", 4)[0] / 255
    assert blurred[14, 14] == pytest.approx(1 / (2 * np.pi * 2.0**2), rel=0.1)


def test_a_line_goes_from_edge_to_edge_and_has_its_width() -> None:
    black = np.zeros((50, 28, 28), np.uint8)
    for severity, width in (3, 2.0), (5, 4.0):
        lines = corrupt_graded(black, "line", severity) / 255
        across = lines.sum(axis=1)  # of each column, the line's height
        slopes = np.abs(lines[:, :, -1].argmax(axis=1) - lines[:, :, 0].argmax(axis=1)) / 27
        middle = across[:, 5:-5].mean(axis=1)
        flat = slopes < 0.3
        assert middle[flat] == pytest.approx(np.full(flat.sum(), width), rel=0.25)
        assert all(label(line > 0, np.ones((3, 3)))[1] == 1 for line in lines)


def test_an_elastic_bend_moves_but_adds_no_ink(digits: Dataset) -> None:
    x = digits.x_test[:100]
    bent = corrupt_graded(x, "elastic", 3)
    assert bent.mean() == pytest.approx(x.mean(), rel=0.1)
    assert np.abs(bent.astype(float) - x).mean() > 10


@pytest.mark.parametrize(("name", "severity"), [("rain", 1), ("snow", 0), ("snow", 6)])
def test_what_there_is_not_is_refused(name: str, severity: int, digits: Dataset) -> None:
    with pytest.raises(ValueError, match=f"given '{name}', {severity}; allowed: gaussian_noise, .*, each with 1 to 5"):
        corrupt_graded(digits.x_test[:1], name, severity)
