"""The images and targets of one epoch: shuffled and augmented, determined by seed and epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.augmentation import augment, shift_and_tone
from mnist_utils.data.classes import DIGITS
from mnist_utils.data.outliers import draw_outliers
from mnist_utils.data.own_change import change_images
from mnist_utils.training.config import TrainConfig

Targets = NDArray[np.float32]
_OUTLIERS = 0.1  # the share of images that show no digit, for `pictures`


def epoch_images(
    x: Images, y: Labels, config: TrainConfig, epoch: int, *, classes: int = len(DIGITS)
) -> tuple[Images, Targets]:
    """Shuffle and augment the training images for one epoch (from 0); seed and epoch determine the result.

    For ``pictures``, one image in ten becomes one that shows no digit.

    Returns
    -------
    images : uint8 array, shape (n, 28, 28)
    targets : float32 array, shape (n, classes)
        The wanted probabilities: 1 for the label, less what `label_smoothing` spreads over all classes; where there is no
        digit, the same for each.
    """
    random = np.random.default_rng((config.seed, epoch))
    order = random.permutation(len(x))
    if config.own_augment:
        images = change_images(x[order], config.own_augment, random, option="augment")
    else:
        images = augment(x[order], config.augment, random, labels=y[order])
    targets = one_hot_targets(y[order], config.label_smoothing, classes=classes)
    if config.augment == "pictures":
        outliers = random.random(len(images)) < _OUTLIERS
        images[outliers] = shift_and_tone(draw_outliers(int(outliers.sum()), random), random)
        targets[outliers] = 1 / targets.shape[1]
    return images, targets


def one_hot_targets(y: Labels, smoothing: float = 0.0, *, classes: int = len(DIGITS)) -> Targets:
    """Return each label's target probabilities, float32, shape (n, classes); see `epoch_images`."""
    return np.eye(classes, dtype=np.float32)[y] * np.float32(1 - smoothing) + np.float32(smoothing / classes)
