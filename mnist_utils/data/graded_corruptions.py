"""Corruptions in five severities, on which augmentation is chosen, so that MNIST-C can be left for the report.

They have the names and the ideas of MNIST-C's second list, which its authors left out of the fifteen; definitions and
strengths are our own.

References
----------
Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations. ICLR.
Mu and Gilmer (2019), MNIST-C: A robustness benchmark for computer vision. ICML workshop on uncertainty and robustness.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from mnist_utils._support.arrays import Images
from mnist_utils.data.corruptions import Floats, change_floats

Graded = Callable[[Floats, float, np.random.Generator], Floats]

SEVERITIES = 1, 2, 3, 4, 5
_SIDE = 28


def corrupt_graded(x: Images, name: str, severity: int, seed: int = 0) -> Images:
    """Corrupt each image.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28), white on black
    name : str
        A key of `GRADED`.
    severity : int, 1 to 5
    seed : int
        The same seed gives the same images.

    Returns
    -------
    uint8 array, shape (n, 28, 28)

    Raises
    ------
    ValueError
        If there is no corruption of that name, or no such severity.
    """
    if name not in GRADED or severity not in SEVERITIES:
        raise ValueError(f"corruption: given {name!r}, {severity!r}; allowed: {', '.join(GRADED)}, each with 1 to 5")
    change, strengths = GRADED[name]
    random = np.random.default_rng((seed, zlib.crc32(name.encode()), severity))
    return change_floats(x, lambda floats: change(floats, strengths[severity - 1], random))


def _gaussian_noise(x: Floats, spread: float, random: np.random.Generator) -> Floats:
    return x + random.normal(0, spread, x.shape).astype(np.float32)


def _speckle_noise(x: Floats, spread: float, random: np.random.Generator) -> Floats:
    return x * (1 + random.normal(0, spread, x.shape).astype(np.float32))


def _gaussian_blur(x: Floats, sigma: float, _: np.random.Generator) -> Floats:
    return np.asarray(gaussian_filter(x, sigma, axes=(1, 2)), np.float32)


def _contrast(x: Floats, kept: float, _: np.random.Generator) -> Floats:
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * kept + mean


def _pixelate(x: Floats, side: float, _: np.random.Generator) -> Floats:
    small = (cv2.resize(image, (int(side),) * 2, interpolation=cv2.INTER_AREA) for image in x)
    return np.stack([cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST) for image in small])


def _jpeg(x: Floats, quality: float, _: np.random.Generator) -> Floats:
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    packed = (cv2.imencode(".jpg", image, options)[1] for image in np.asarray(x * 255).round().astype(np.uint8))
    images = [np.asarray(cv2.imdecode(one, cv2.IMREAD_GRAYSCALE), np.float32) for one in packed]
    return np.stack(images) / np.float32(255)


def _quantize(x: Floats, levels: float, _: np.random.Generator) -> Floats:
    steps = np.float32(levels - 1)
    return np.asarray(np.round(x * steps) / steps, np.float32)


def _elastic(x: Floats, pixels: float, random: np.random.Generator) -> Floats:
    """Bend each image by a smooth random field of that standard deviation."""
    fields = gaussian_filter(random.normal(0, 1, (2, *x.shape)), 4, axes=(2, 3))
    fields *= pixels / fields.std(axis=(2, 3), keepdims=True)
    columns, rows = np.meshgrid(np.arange(_SIDE), np.arange(_SIDE))
    maps = (fields + np.stack([rows, columns])[:, None]).astype(np.float32)
    return np.stack([cv2.remap(image, maps[1, i], maps[0, i], cv2.INTER_LINEAR) for i, image in enumerate(x)])


def _line(x: Floats, width: float, random: np.random.Generator) -> Floats:
    """Draw a white line from the left edge to the right one, of that width in pixels."""
    left, right = random.uniform(0, _SIDE - 1, (2, len(x), 1, 1))
    rows, columns = np.arange(_SIDE)[:, None], np.arange(_SIDE)
    middle = left + (right - left) * columns / (_SIDE - 1)
    distance = np.abs(rows - middle) / np.hypot(1, (right - left) / (_SIDE - 1))
    return np.maximum(x, np.clip(width / 2 + 0.5 - distance, 0, 1).astype(np.float32))


def _snow(x: Floats, share: float, random: np.random.Generator) -> Floats:
    """Let flakes fall on that share of the pixels, drawn out along a slope."""
    flakes = (random.random(x.shape) < share).astype(np.float32)
    drawn_out = (flakes + np.roll(flakes, (1, 1), (1, 2)) + np.roll(flakes, (2, 1), (1, 2))) / 1.5
    return np.maximum(x, np.asarray(gaussian_filter(drawn_out, 0.5, axes=(1, 2)), np.float32))


GRADED: dict[str, tuple[Graded, tuple[float, ...]]] = {  # each with its five strengths
    "gaussian_noise": (_gaussian_noise, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "speckle_noise": (_speckle_noise, (0.3, 0.5, 0.7, 0.9, 1.2)),
    "gaussian_blur": (_gaussian_blur, (0.8, 1.2, 1.6, 2.0, 2.5)),
    "contrast": (_contrast, (0.6, 0.4, 0.3, 0.2, 0.1)),
    "pixelate": (_pixelate, (14, 12, 10, 8, 7)),
    "jpeg": (_jpeg, (50, 30, 20, 10, 5)),
    "quantize": (_quantize, (8, 5, 4, 3, 2)),
    "elastic": (_elastic, (0.6, 1.0, 1.4, 1.8, 2.2)),
    "line": (_line, (0.5, 1.0, 2.0, 3.0, 4.0)),
    "snow": (_snow, (0.02, 0.05, 0.1, 0.15, 0.2)),
}
