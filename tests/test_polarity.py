from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mnist_utils import polarity
from mnist_utils.config import make_config
from mnist_utils.data import Dataset, load_dataset


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def test_the_reader_turns_inverted_images_back(digits: Dataset) -> None:
    images = digits.x_test[:20]
    normal, inverted = polarity.through_reader(images), polarity.through_reader(255 - images)
    np.testing.assert_array_equal(normal.images, inverted.images)
    assert not normal.inverted.any()
    assert inverted.inverted.all()
    assert not (normal.refused | inverted.refused).any()
    lit = images.max(axis=(1, 2), keepdims=True)  # the reader makes the ink as strong as it can be
    np.testing.assert_allclose(normal.images, 255.0 * images / lit, atol=1)


def test_an_image_without_a_digit_is_refused(digits: Dataset) -> None:
    found = polarity.through_reader(np.stack([np.full((28, 28), 77, np.uint8), digits.x_test[0]]))
    assert found.refused.tolist() == [True, False]
    assert not found.images[0].any()


def test_half_of_the_training_images_are_inverted_and_nothing_else(digits: Dataset) -> None:
    mixed = polarity.invert_half(digits, seed=3)
    same = (mixed.x_train == digits.x_train).all(axis=(1, 2))
    opposite = (mixed.x_train == 255 - digits.x_train).all(axis=(1, 2))
    assert (same ^ opposite).all()
    assert abs(int(opposite.sum()) - int(same.sum())) <= 1
    assert mixed.x_train.dtype == np.uint8
    for name in "y_train", "x_validation", "y_validation", "x_test", "y_test":
        assert getattr(mixed, name) is getattr(digits, name)
    again, other = polarity.invert_half(digits, seed=3), polarity.invert_half(digits, seed=4)
    np.testing.assert_array_equal(again.x_train, mixed.x_train)
    assert (other.x_train != mixed.x_train).any()


def test_few_images_keep_their_labels(digits: Dataset) -> None:
    few = polarity.take_few(digits, 100)
    assert len(few.x_train) == 100
    label_of = {image.tobytes(): label for image, label in zip(digits.x_train, digits.y_train, strict=True)}
    assert [label_of[image.tobytes()] for image in few.x_train] == few.y_train.tolist()
    assert len(polarity.take_few(digits, 10_000).x_train) == len(digits.x_train)


def test_training_on_both_reads_both(digits: Dataset) -> None:
    config = make_config(dataset="digits", model="fast", epochs=4, batch_size=64)
    trials = polarity.train_on_both(config, digits, [5])
    assert trials[["variant", "seed"]].to_numpy().tolist() == [[polarity.NORMAL, 5], [polarity.BOTH, 5]]
    one, both = trials["inverted_accuracy"]
    assert both > 0.8 > 0.7 > one
    assert trials["accuracy"].min() > 0.8


def test_the_gain_is_the_paired_difference_with_students_interval() -> None:
    trials = pd.DataFrame(
        {
            "variant": [polarity.NORMAL, polarity.BOTH] * 3,
            "seed": [0, 0, 1, 1, 2, 2],
            "accuracy": [0.90, 0.91, 0.92, 0.94, 0.94, 0.97],
            "inverted_accuracy": [0.1, 0.9, 0.2, 1.0, 0.1, 0.9],
        }
    )
    # Differences 1, 2, 3 points: mean 2, deviation 1, and Student's quantile for 2 degrees of freedom is 4.3027.
    half = 0.01 * 4.302653 / 3**0.5
    assert polarity.gain_of_both(trials, "accuracy") == pytest.approx((0.02, 0.02 - half, 0.02 + half))
    assert polarity.gain_of_both(trials, "inverted_accuracy") == pytest.approx((0.8, 0.8, 0.8))
    with pytest.raises(ValueError, match="two at least"):
        polarity.gain_of_both(trials[trials["seed"] == 0], "accuracy")
