from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mnist_utils.data import synthetic
from mnist_utils.data.datasets import load_dataset
from mnist_utils.preprocessing.reader import preprocess


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=["PNG"])


def test_pixels_survive_encoding() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    for given in pixels, pixels[..., 0]:
        np.testing.assert_array_equal(np.asarray(opened(synthetic.encode_png(given))), given)


def test_ink_is_drawn_on_a_larger_sheet() -> None:
    digit = load_dataset("digits").x_test[0]
    image = opened(synthetic.render_on_paper(digit, ink=(0, 0, 200), sheet=(255, 255, 255)))
    assert (image.size, image.mode) == ((300, 260), "RGB")
    red, _, blue = np.moveaxis(np.asarray(image, float), 2, 0)
    share = ((blue - red) > 60).mean()  # blue ink; white paper is grey under the lamp
    assert 0.5 < share / ((digit > 100).sum() * (168 / 28) ** 2 / (300 * 260)) < 2
    assert red[:5, :5].mean() > 150 or red[-5:, -5:].mean() > 150  # a corner without ink


def test_rows_of_digits_stand_below_each_other() -> None:
    digits = load_dataset("digits").x_test
    image = opened(synthetic.render_rows_on_paper([digits[:2], digits[2:5]], ink=(0, 0, 200), sheet=(255, 255, 255)))
    assert image.size == (80 + 3 * 112, 60 + 2 * 150)
    red, _, blue = np.moveaxis(np.asarray(image, float), 2, 0)
    ink = (blue - red) > 60
    upper, lower = ink[:170].sum(), ink[170:].sum()
    share = upper / (upper + lower)
    expected = [(digits[some] > 100).sum() for some in (slice(2), slice(2, 5))]
    assert share == pytest.approx(expected[0] / sum(expected), abs=0.1)
    assert not ink[:, -30:].any()


def test_the_seed_sets_the_position() -> None:
    digit = load_dataset("digits").x_test[0]
    assert (
        synthetic.render_on_paper(digit, seed=1)
        == synthetic.render_on_paper(digit, seed=1)
        != synthetic.render_on_paper(digit, seed=2)
    )


@pytest.mark.parametrize("seed", range(5))
def test_preprocessing_finds_the_digit(seed: int) -> None:
    digit = load_dataset("digits").x_test[seed]
    reading = preprocess(synthetic.render_on_paper(digit, seed=seed))
    assert reading.inverted
    assert np.corrcoef(reading.image.ravel(), digit.ravel())[0, 1] > 0.85
