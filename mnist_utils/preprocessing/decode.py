"""A picture's file -> upright pixels on white, with limits on its size."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pi_heif
from PIL import Image, UnidentifiedImageError

from mnist_utils import MnistError
from mnist_utils._support.arrays import Floats

Polarity = Literal["auto", "dark-on-light", "light-on-dark"]

# HEIF is what iPhones make; AVIF is asked first, as pi-heif takes some of it for HEIF.
FORMATS = ("PNG", "JPEG", "AVIF", "HEIF", "WEBP", "TIFF", "GIF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".heic", ".heif", ".avif", ".webp", ".tif", ".tiff", ".gif", ".bmp")
_TURNS = {  # EXIF orientation -> the operation that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535  # pixels; LibTIFF takes half a minute for a broken fax of millions of short lines
ONE_DIGIT, MANY_DIGITS = 512, 1280  # pixels, the longer side; a phone's photo of a digit has fifty times as many pixels
_SMALL = 64  # pixels; a picture of no larger sides has strokes of a few pixels
LEAST_CONTRAST = 0.08  # between paper and ink; black to white is 1

# To the C library (glibc), an array of a megabyte is large: each comes fresh from the system, page by page, which took a
# third of a picture's time. A larger one, freed, teaches it to keep up to twice its size. Nothing is written to it.
np.empty(4_000_000, np.uint8)

# Pillow logs defects of pictures, whether it then rejects them or not; without this, the log would reach stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)

ErrorKind = Literal["cannot be opened", "too large", "not a picture", "cannot be decoded", "no digit"]


class ImageError(MnistError):
    """A picture that cannot be decoded, is too large, or shows no digit.

    Attributes
    ----------
    kind : ErrorKind
        What is wrong, for programs; the message begins with it.
    """

    def __init__(self, kind: ErrorKind, why: str) -> None:
        super().__init__(kind, why)
        self.kind = kind

    def __str__(self) -> str:
        return ": ".join(self.args)


def decode_picture(picture: Path | bytes, side: int = ONE_DIGIT) -> Floats:
    """Decode a picture, turn it upright, put it on white, shrink it.

    Parameters
    ----------
    picture : Path or bytes
        A file or its content.
    side : int
        The longer side that it has at most, in pixels: `ONE_DIGIT` or `MANY_DIGITS`.

    Returns
    -------
    float array, shape (height, width, 3), values 0 (black) to 1

    Raises
    ------
    ImageError
        If it is missing, too large or damaged.
    """
    try:
        content = picture if isinstance(picture, bytes) else _read_limited(Path(picture))
        if not content:
            raise ImageError("not a picture", "the file is empty")
        if content.startswith(b"%PDF"):
            raise ImageError("not a picture", "a PDF; save its page as a PNG (poppler-utils: pdftoppm -png file.pdf page)")
        if len(content) > MAX_BYTES:
            raise ImageError("too large", f"more than {MAX_BYTES:,} bytes")
        with warnings.catch_warnings(action="ignore"):  # what Pillow warns of is rejected below, or harmless
            image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise ImageError("too large", f"more than {MAX_PIXELS:,} pixels")
            if max(image.size) > MAX_SIDE:
                raise ImageError("too large", f"a side of more than {MAX_SIDE:,} pixels")
            image.draft("RGB", (side, side))  # a JPEG decodes straight to about that size
            image.load()
            if image.mode in ("P", "PA") and image.palette is None:
                raise ImageError("cannot be decoded", "its palette is missing")
    except Image.DecompressionBombError:
        raise ImageError("too large", f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise ImageError("not a picture", f"none of {', '.join(FORMATS)}") from None
    except ImageError:
        raise
    except Exception as error:  # a decoder of a damaged picture raises almost anything
        raise ImageError("cannot be decoded", str(error).partition(" (")[0].partition("\n")[0]) from None
    small = _shrink(image, side)
    if small.mode == "F":  # 16 or 32 bits, which Pillow would clip to 255
        values = np.asarray(small, np.float64)
        low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
        small = Image.fromarray(((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8))
    elif small.mode == "RGBA":
        small = _flatten_alpha(small)
    small = small.convert("RGB")
    turn = _exif_orientation(image)
    upright = small if turn is None else small.transpose(turn)
    upright.thumbnail((side, side), reducing_gap=2.0)
    return np.asarray(upright, np.float32) / np.float32(255)


def enlarge(colour: Floats) -> Floats:
    """Enlarge a small picture eight times, smoothly, so that strokes of one or two pixels can be measured and widened."""
    if max(colour.shape[:2]) > _SMALL:
        return colour
    return np.clip(cv2.resize(colour, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC), 0, 1)


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """Shrink a large picture to about twice the working size; mode F if it has more than 8 bits, else RGBA or RGB.

    It works in bands: copies of the complete picture, at four or more bytes per pixel, would take a gigabyte.
    """
    factor = max(1, max(image.size) // (2 * side))
    mode = "F" if image.mode.startswith(("I", "F")) else "RGBA" if image.has_transparency_data else "RGB"
    if factor == 1 and mode == image.mode != "F":
        return image
    small = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    step = factor * max(1, 1_000_000 // (image.width * factor))
    for top in range(0, image.height, step):
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        if mode == "F":
            values = np.array(band, np.float32)
            values[~(np.abs(values) < 1e30)] = 0  # NaN too; sums of the remaining values stay finite
            band = Image.fromarray(values)
        small.paste(band.convert(mode).reduce(factor), (0, top // factor))
    return small


def _exif_orientation(image: Image.Image) -> Image.Transpose | None:
    """Return the operation that turns a picture upright, from EXIF tag 0x0112; None if there is none or EXIF is broken."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tag = image.getexif().get(0x0112)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return None
    return _TURNS.get(tag) if isinstance(tag, int) else None


def _flatten_alpha(image: Image.Image) -> Image.Image:
    """Put a transparent picture on white; on black, if it would be invisible on white."""
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if _grey_range(white) >= 255 * LEAST_CONTRAST:
        return white
    black = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return black if _grey_range(black) > 255 * LEAST_CONTRAST else white


def _grey_range(image: Image.Image) -> float:
    low, high = image.convert("L").getextrema()
    return high - low  # type: ignore[operator]


def _read_limited(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # no more: a device may never end
    except OSError as error:
        why = "a folder without a picture in it" if path.is_dir() else str(error.strerror)
        raise ImageError("cannot be opened", why) from None
