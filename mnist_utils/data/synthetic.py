"""Synthetic pictures: digits in ink on unevenly lit paper, as users bring them, and out-of-distribution images."""

from __future__ import annotations

import io
import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_utils._support.arrays import Images
from mnist_utils.data.augmentation import augment
from mnist_utils.data.classes import DIGITS
from mnist_utils.data.datasets import load_dataset
from mnist_utils.data.sources import find_copy
from mnist_utils.preprocessing.center import center_digit

Colour = tuple[int, int, int]


def render_on_paper(digit: Images, *, seed: int = 0, ink: Colour = (30, 40, 110), sheet: Colour = (250, 246, 235)) -> bytes:
    """Draw a digit in ink on a sheet of paper, lit by a lamp from one side.

    Parameters
    ----------
    digit : uint8 array, shape (28, 28), white on black
    seed : int
        Of the digit's position and the lamp's direction.
    ink, sheet : (red, green, blue), 0 to 255

    Returns
    -------
    bytes
        A PNG of 300x260 pixels.
    """
    random = np.random.default_rng(seed)
    strokes = _in_ink(digit, 168)
    page = np.zeros((260, 300))
    top, left = (int(random.integers(0, room + 1)) for room in np.subtract(page.shape, strokes.shape))
    page[top : top + 168, left : left + 168] = strokes
    return _lit_page(page, random, ink, sheet)


def render_rows_on_paper(
    rows: Sequence[Images], *, seed: int = 0, ink: Colour = (30, 40, 110), sheet: Colour = (250, 246, 235)
) -> bytes:
    """Write rows of digits in ink on a sheet of paper, lit by a lamp from one side.

    Parameters
    ----------
    rows : sequence of uint8 arrays, each of shape (n, 28, 28), white on black
    seed : int
        Of the distances between the digits, their heights on the line, and the lamp's direction.
    ink, sheet : (red, green, blue), 0 to 255

    Returns
    -------
    bytes
        A PNG; a digit is about 80 pixels high.
    """
    random = np.random.default_rng(seed)
    page = np.zeros((60 + 150 * len(rows), 80 + 112 * max(map(len, rows))))
    for row, digits in enumerate(rows):
        left = 30
        for digit in digits:
            top = 30 + 150 * row + int(random.integers(0, 20))
            here = page[top : top + 112, left : left + 112]
            np.maximum(here, _in_ink(digit, 112), out=here)
            left += int(random.integers(80, 112))
    return _lit_page(page, random, ink, sheet)


def _in_ink(digit: Images, side: int) -> NDArray[np.float64]:
    """Enlarge a digit; return how much of each pixel is ink: solid like a pen's, with soft edges."""
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip((np.asarray(large) / 255 - 0.25) / 0.35, 0, 1)


def _lit_page(page: NDArray[np.float64], random: np.random.Generator, ink: Colour, sheet: Colour) -> bytes:
    y, x = np.indices(page.shape) / max(page.shape)
    angle = random.uniform(0, 2 * np.pi)
    light = 0.85 + 0.15 * np.cos(angle) * (x - 0.5) * 2 + 0.15 * np.sin(angle) * (y - 0.5) * 2
    share = page[..., None]
    colours = (np.array(sheet) * (1 - share) + np.array(ink) * share) * light[..., None]
    return encode_png(np.clip(np.round(colours), 0, 255).astype(np.uint8))


def encode_png(pixels: Images) -> bytes:
    """Encode pixels, uint8 of shape (height, width) or (height, width, 3), as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# Without the letters that can be read as a digit: B, D, I, O, Q, S, Z, b, g, i, l, o, q, s, z.
_LETTERS = "".join(sorted(set(string.ascii_letters) - set("BDIOQSZbgiloqsz")))
_FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSerif-Italic.ttf")


def out_of_distribution_images(
    n: int, seed: int = 0, *, known: str = "mnist", classes: tuple[str, ...] = DIGITS
) -> dict[str, Images]:
    """Make images that show no digit.

    Parameters
    ----------
    n : int
        Images of each kind.
    seed : int
    known : str
        The data set that a model was trained on; its images are left out.
    classes : tuple of str
        What the model tells apart; letters are left out where some of them are letters.

    Returns
    -------
    dict of uint8 arrays, shape (n, 28, 28), white on black
        letters: printed in several fonts, centred like MNIST's digits, then turned and sheared a little. photographs:
        pieces of scikit-learn's two. noise: random pixels. blank: one grey each, all different, so 256 at most. clothes:
        from Fashion-MNIST, if its files are available.
    """
    random = np.random.default_rng(seed)
    made = {
        "letters": _letters(n, random),
        "photographs": _photographs(n, random),
        "noise": random.integers(0, 256, (n, 28, 28), np.uint8),
        "blank": np.broadcast_to(random.permutation(256).astype(np.uint8)[:n, None, None], (min(n, 256), 28, 28)).copy(),
    }
    if any(len(name) == 1 and name.isalpha() for name in classes):
        del made["letters"]
    if known == "fashion_mnist" or not find_copy("fashion_mnist"):
        return made
    clothes = load_dataset("fashion_mnist").x_test
    return made | {"clothes": clothes[random.permutation(len(clothes))[:n]]}


def _letters(n: int, random: np.random.Generator) -> Images:
    from matplotlib import get_data_path

    fonts = [ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}", 60) for name in _FONTS]
    drawn = []
    for letter, font in zip(random.choice(list(_LETTERS), n), random.integers(0, len(fonts), n), strict=True):
        sheet = Image.new("L", (120, 120))
        ImageDraw.Draw(sheet).text((30, 20), str(letter), fill=255, font=fonts[font])
        drawn.append(center_digit(np.asarray(sheet, np.float32) / 255))
    return augment(np.stack(drawn), "affine", random)


def _photographs(n: int, random: np.random.Generator) -> Images:
    from sklearn.datasets import load_sample_images

    photographs = [image.mean(axis=2) for image in load_sample_images().images]
    pieces = []
    for which in random.integers(0, len(photographs), n):
        photograph = photographs[which]
        top, left = (int(random.integers(0, side - 112)) for side in photograph.shape)
        piece = photograph[top : top + 112, left : left + 112].reshape(28, 4, 28, 4).mean(axis=(1, 3))
        pieces.append(piece.round().astype(np.uint8))
    return np.stack(pieces)
