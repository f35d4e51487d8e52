"""Any picture of a digit -> the (28, 28) array that the networks were trained on, with a word on how."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from mnist_utils import MnistError
from mnist_utils.data import Images, place

Polarity = Literal["auto", "dark-on-light", "light-on-dark"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
_WORKING_SIDE = 512  # pixels; a digit needs no more, and a phone's photo has fifty times as many
_LEAST_CONTRAST = 0.08  # of the range from black to white, between paper and ink


class ImageError(MnistError):
    """A picture that cannot be decoded, is too large, or shows no digit."""


@dataclass(frozen=True)
class Reading:
    """A picture as the network will see it, and what was done to it.

    Attributes
    ----------
    image : uint8 array, shape (28, 28), white on black
    inverted : bool
        Whether the picture was dark on light.
    crop : (left, top, right, bottom)
        The digit's box, as shares of the picture's width and height.
    """

    image: Images
    inverted: bool
    crop: tuple[float, float, float, float]


def read(picture: Path | bytes, *, polarity: Polarity = "auto") -> Reading:
    """Turn a picture into a network's input.

    Parameters
    ----------
    picture : Path or bytes
        A PNG, JPEG, BMP, GIF (first frame), TIFF or WebP file, or its content.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        ``auto`` takes what most of the picture's edge shows for paper.

    Raises
    ------
    ImageError
        If it is missing, too large (`MAX_BYTES`, `MAX_PIXELS`), not a picture, or shows no digit.
    """
    grey = _decode(picture)
    paper = float(np.median(_edge(grey)))
    # Ink is what differs from the paper, on the side where the difference is larger.
    inverted = paper - grey.min() > grey.max() - paper if polarity == "auto" else polarity == "dark-on-light"
    ink = np.clip(paper - grey if inverted else grey - paper, 0, None)
    contrast = float(ink.max())
    if contrast < _LEAST_CONTRAST:
        raise ImageError(f"no digit: paper and ink differ by {contrast:.0%} of the range from black to white")
    ink /= contrast
    if grey.shape == (28, 28):  # made for such a network already: cropping it again could only lose something
        return Reading(np.round(255 * ink).astype(np.uint8), bool(inverted), (0.0, 0.0, 1.0, 1.0))
    ink = _largest_strokes(ink)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    height, width = ink.shape
    crop = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    left, top, right, bottom = (round(float(side), 4) for side in crop)
    return Reading(place(ink), bool(inverted), (left, top, right, bottom))


def _decode(picture: Path | bytes) -> NDArray[np.float64]:
    """Decode, turn upright, lay over white, and return grey values from 0 (black) to 1."""
    try:
        content = picture if isinstance(picture, bytes) else _content(picture)
        if len(content) > MAX_BYTES:
            raise ImageError(f"too large: {len(content):,} bytes; at most {MAX_BYTES:,}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what the next line refuses
            image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"too large: more than {MAX_PIXELS:,} pixels")
        image.draft("L", (_WORKING_SIDE, _WORKING_SIDE))  # a JPEG decodes straight to about that size
        image.load()
    except Image.DecompressionBombError:
        raise ImageError(f"too large: more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise ImageError(f"not a picture that can be read; known are {', '.join(FORMATS)}") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageError(f"cannot be decoded: {error}") from None
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bits: Pillow would clip them to 255
        values = np.asarray(image, np.float64)
        image = Image.fromarray((values / max(values.max(), 1) * 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L")
    image.thumbnail((_WORKING_SIDE, _WORKING_SIDE), reducing_gap=2.0)
    return np.asarray(image, np.float64) / 255


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"too large: {path.stat().st_size:,} bytes; at most {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror}") from None


def _edge(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _largest_strokes(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the strokes: what is half as dark as the darkest, without specks; the rest becomes paper."""
    strokes, count = ndimage.label(ink > 0.4, structure=np.ones((3, 3)))
    sizes = np.bincount(strokes.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = np.isin(strokes, np.flatnonzero(sizes >= 0.1 * sizes.max()))
    # The soft edge of a stroke belongs to it.
    return np.where(ndimage.binary_dilation(kept, iterations=2), ink, 0.0)
