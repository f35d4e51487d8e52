"""Pictures that show no digit, and how well a score tells them from digits."""

from __future__ import annotations

import string
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import norm

from mnist_utils.augmentation import augment
from mnist_utils.data import Images, find_copy, load_dataset, place

# Letters that no one could be blamed for reading as a digit are left out: B, D, I, O, Q, S, Z, b, g, i, l, o, q, s, z.
_LETTERS = "".join(sorted(set(string.ascii_letters) - set("BDIOQSZbgiloqsz")))
_FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSerif-Italic.ttf")


def strangers(n: int, seed: int = 0, *, known: str = "mnist") -> dict[str, Images]:
    """Make pictures that show no digit.

    Parameters
    ----------
    n : int
        Of each kind.
    seed : int
    known : str
        The data set that is no stranger.

    Returns
    -------
    dict of uint8 arrays, shape (n, 28, 28), white on black
        letters: printed in several fonts, placed as MNIST's digits are, then turned and sheared a little. photographs:
        pieces of two, from scikit-learn. noise: each pixel by lot. blank: one grey, by lot. clothes: of Fashion-MNIST, where
        its files are at hand.
    """
    random = np.random.default_rng(seed)
    made = {
        "letters": _letters(n, random),
        "photographs": _photographs(n, random),
        "noise": random.integers(0, 256, (n, 28, 28), np.uint8),
        "blank": np.broadcast_to(random.integers(0, 256, (n, 1, 1), np.uint8), (n, 28, 28)).copy(),
    }
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
        drawn.append(place(np.asarray(sheet, np.float32) / 255))
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


def separation(known: NDArray[np.floating], others: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Say how well a score tells digits from what is none.

    Parameters
    ----------
    known : float array, shape (n,)
        The score of digits: higher where it is surer that the picture shows one.
    others : mapping of float arrays
        The score of other pictures, by kind.

    Returns
    -------
    DataFrame
        A row a kind (index); columns n, auroc (the chance that a digit scores higher than such a picture; equal scores count
        half; 0.5 is a guess), low, high (its 95 % interval), accepted (the share of such pictures that score at least as
        high as 95 % of the digits do). The interval takes the pictures as independent; pieces of two photographs are not
        quite.

    References
    ----------
    Hendrycks and Gimpel (2017), A baseline for detecting misclassified and out-of-distribution examples. ICLR.
    Hanley and McNeil (1982), The meaning and use of the area under a receiver operating characteristic (ROC) curve.
    Radiology 143: the interval.
    """
    from sklearn.metrics import roc_auc_score

    threshold = np.quantile(known, 0.05)
    rows = []
    for kind, scores in others.items():
        is_known = np.repeat([1, 0], [len(known), len(scores)])
        area = float(roc_auc_score(is_known, np.concatenate([known, scores])))
        q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
        variance = area * (1 - area) + (len(known) - 1) * (q1 - area**2) + (len(scores) - 1) * (q2 - area**2)
        half = float(norm.ppf(0.975)) * np.sqrt(max(variance, 0) / (len(known) * len(scores)))
        low, high = max(0.0, area - half), min(1.0, area + half)
        if area == 1:  # the closed form would have no width; three in n could have been otherwise (the rule of three)
            low = max(0.0, 1 - 3 / min(len(known), len(scores)))
        accepted = float((scores >= threshold).mean())
        rows.append({"kind": kind, "n": len(scores), "auroc": area, "low": low, "high": high, "accepted": accepted})
    return pd.DataFrame(rows).set_index("kind")
