"""Any picture of a digit -> the (28, 28) array that the networks were trained on, with a word on how."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mnist_utils import MnistError
from mnist_utils.data import Images, place

Floats = NDArray[np.floating[Any]]
Polarity = Literal["auto", "dark-on-light", "light-on-dark"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_TURNS = {  # EXIF's orientations, by what undoes each
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
MAX_SIDE = 65_535  # pixels; a broken fax of millions of short lines takes LibTIFF half a minute
_WORKING_SIDE = 512  # pixels; a digit needs no more, and a phone's photo has fifty times as many
_LEAST_CONTRAST = 0.08  # of the distance from black to white, between paper and ink
_LEAST_SIDE, _MOST_PARTS = 6, 8  # a digit has at least so many pixels in height or width, and no more pieces
_EVEN = 0.92  # share of a picture's variance that paper against ink explains in even light
_THIN, _PEN = 0.075, 0.1  # stroke width as share of the digit's longer side; MNIST's is 0.1 to 0.15

# Pillow logs flaws of pictures that it then refuses, or reads all the same; without this they would reach stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

ErrorKind = Literal["cannot be opened", "too large", "not a picture", "cannot be decoded", "no digit"]


class ImageError(MnistError):
    """A picture that cannot be decoded, is too large, or shows no digit.

    Attributes
    ----------
    kind : ErrorKind
        What is wrong, for a program to act on; its text begins with it.
    """

    def __init__(self, kind: ErrorKind, why: str) -> None:
        super().__init__(kind, why)
        self.kind = kind

    def __str__(self) -> str:
        return ": ".join(self.args)


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
    frames : int
        Frames (a border, the axes of a plot) that were taken off around the digit.
    stroke : float
        Width of the strokes as share of the digit's longer side, before thin ones were widened.
    steps : dict of str to array
        The picture after each step, values 0 to 1, for `plots.reading_steps`.
    """

    image: Images
    inverted: bool
    crop: tuple[float, float, float, float]
    frames: int = 0
    stroke: float = 0.0
    steps: dict[str, Floats] = field(default_factory=dict, repr=False, compare=False)


def read(picture: Path | bytes, *, polarity: Polarity = "auto") -> Reading:
    """Turn a picture into a network's input.

    Parameters
    ----------
    picture : Path or bytes
        A PNG, JPEG, BMP, GIF (first frame), TIFF or WebP file, or its content.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        ``auto`` takes for ink what stands out from its surroundings.

    Raises
    ------
    ImageError
        If it is missing, too large (`MAX_BYTES`, `MAX_PIXELS`), not a picture, or shows no digit.
    """
    colour = _decode(picture)
    if colour.shape[:2] == (28, 28) and (ready := _read_ready(colour, polarity)):
        return ready
    boxes = [(0, 0, *colour.shape[:2])]
    while len(boxes) < 4 and (inside := _inside_frame(_cut(colour, boxes[-1]))):
        top, left = boxes[-1][:2]
        boxes.append((top + inside[0], left + inside[1], top + inside[2], left + inside[3]))
    top, left = boxes[-1][:2]
    ink, inverted = _ink(_cut(colour, boxes[-1]), polarity)
    kept = _strokes(ink)
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    if not len(rows) or max(np.ptp(rows), np.ptp(columns)) < _LEAST_SIDE:
        raise ImageError("no digit", f"nothing larger than {_LEAST_SIDE} pixels stands out")
    digit = kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    widened, stroke = _widen(digit)
    height, width = colour.shape[:2]
    crop = (
        (left + columns[0]) / width,
        (top + rows[0]) / height,
        (left + columns[-1] + 1) / width,
        (top + rows[-1] + 1) / height,
    )
    return Reading(
        place(widened),
        inverted,
        (round(crop[0], 4), round(crop[1], 4), round(crop[2], 4), round(crop[3], 4)),
        frames=len(boxes) - 1,
        stroke=round(stroke, 3),
        steps={"upright": colour, "ink": ink, "strokes": kept, "cut out": widened},
    )


def _read_ready(colour: Floats, polarity: Polarity) -> Reading | None:
    """Read a picture made for such a network already, which cropping could only harm; None if it is not one.

    As in MNIST, the digit's mass is at (14, 14) to within half a pixel and its box is no larger than 20x20.
    """
    grey = np.round(255 * _grey(colour))  # whole numbers: a picture and its negative give the same to the last bit
    paper = float(np.median(_edge(grey)))
    inverted = bool(paper - grey.min() > grey.max() - paper) if polarity == "auto" else polarity == "dark-on-light"
    ink = np.clip(paper - grey if inverted else grey - paper, 0, None)
    contrast = float(ink.max())
    _check_contrast(contrast / 255)
    ink /= contrast
    rows, columns = ink.sum(axis=1), ink.sum(axis=0)
    off = max(abs(float(sums @ np.arange(28) / ink.sum()) - 14) for sums in (rows, columns))
    if off > 0.75 or max(np.ptp(np.flatnonzero(sums)) for sums in (rows, columns)) > 21:
        return None
    return Reading(
        np.round(255 * ink).astype(np.uint8), inverted, (0.0, 0.0, 1.0, 1.0), steps={"upright": colour, "ink": ink}
    )


def _check_contrast(contrast: float) -> None:
    if not contrast >= _LEAST_CONTRAST:
        raise ImageError("no digit", f"it is all of one colour, to {contrast:.0%} of the way from black to white")


# --- decoding ---------------------------------------------------------------------------------------------


def _decode(picture: Path | bytes) -> Floats:
    """Decode, turn upright, lay over white; float, shape (height, width, 3), values 0 (black) to 1."""
    try:
        content = picture if isinstance(picture, bytes) else _content(picture)
        if not content:
            raise ImageError("not a picture", "it is empty")
        if len(content) > MAX_BYTES:
            raise ImageError("too large", f"more than {MAX_BYTES:,} bytes")
        with warnings.catch_warnings(action="ignore"):  # Pillow warns of what is refused below, or does no harm
            image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise ImageError("too large", f"more than {MAX_PIXELS:,} pixels")
            if max(image.size) > MAX_SIDE:
                raise ImageError("too large", f"a side of more than {MAX_SIDE:,} pixels")
            image.draft("RGB", (_WORKING_SIDE, _WORKING_SIDE))  # a JPEG decodes straight to about that size
            image.load()
            if image.mode in ("P", "PA") and image.palette is None:
                raise ImageError("cannot be decoded", "its palette is missing")
    except Image.DecompressionBombError:
        raise ImageError("too large", f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise ImageError("not a picture", f"none of {', '.join(FORMATS)}") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageError("cannot be decoded", str(error).partition(" (")[0]) from None
    small = _small(image)
    if small.mode == "F":  # from 16 or 32 bits: Pillow would clip them to 255
        values = np.asarray(small, np.float64)
        low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
        small = Image.fromarray(((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8))
    elif small.mode == "RGBA":
        small = _opaque(small)
    small = small.convert("RGB")
    turn = _turn(image)
    upright = small if turn is None else small.transpose(turn)
    upright.thumbnail((_WORKING_SIDE, _WORKING_SIDE), reducing_gap=2.0)
    return np.asarray(upright, np.float32) / np.float32(255)


def _small(image: Image.Image) -> Image.Image:
    """Shrink a large picture to about twice the working size; mode F if it has more than 8 bits, else RGBA or RGB.

    It is done in bands: copies of the whole, in four bytes or more a pixel, would take a gigabyte.
    """
    factor = max(1, max(image.size) // (2 * _WORKING_SIDE))
    mode = "F" if image.mode.startswith(("I", "F")) else "RGBA" if image.has_transparency_data else "RGB"
    small = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    step = factor * max(1, 1_000_000 // (image.width * factor))
    for top in range(0, image.height, step):
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        if mode == "F":
            values = np.array(band, np.float32)
            values[~(np.abs(values) < 1e30)] = 0  # NaN, too; sums of what is left stay finite
            band = Image.fromarray(values)
        small.paste(band.convert(mode).reduce(factor), (0, top // factor))
    return small


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what turns a picture upright, as the camera says in EXIF's tag 0x0112; a broken EXIF says nothing."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tag = image.getexif().get(0x0112)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return None
    return _TURNS.get(tag) if isinstance(tag, int) else None


def _opaque(image: Image.Image) -> Image.Image:
    """Lay a transparent picture over white; over black, if it would vanish on white."""
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if _spread(white) >= 255 * _LEAST_CONTRAST:
        return white
    black = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return black if _spread(black) > 255 * _LEAST_CONTRAST else white


def _spread(image: Image.Image) -> float:
    low, high = image.convert("L").getextrema()
    return high - low  # type: ignore[operator]


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # no more: it may be a device without an end
    except OSError as error:
        why = "a folder without a picture in it" if path.is_dir() else str(error.strerror)
        raise ImageError("cannot be opened", why) from None


# --- frames -----------------------------------------------------------------------------------------------


def _edge(picture: Floats) -> Floats:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def _cut(colour: Floats, box: tuple[int, int, int, int]) -> Floats:
    top, left, bottom, right = box
    return colour[top:bottom, left:right]


def _inside_frame(colour: Floats) -> tuple[int, int, int, int] | None:
    """Return the box (top, left, bottom, right) inside a frame or a panel that holds the digit, if there is one.

    A frame is an upright rectangle, line or filled, that covers most of the picture without touching its edge
    and shows something inside. A shadow touches the edge; the strokes of a digit are no rectangle.
    """
    height, width = colour.shape[:2]
    different = _length(_minus(colour, np.median(_edge(colour), axis=0))) > 0.35
    if not all((different.sum(axis=axis) > 0.375 * different.shape[axis]).sum() > 1 for axis in (0, 1)):
        return None  # no two lines across half the picture, seen at once; most pictures end here
    parts, boxes = _label(different)
    # Noise has thousands of small ones.
    for number in np.flatnonzero((boxes[:, cv2.CC_STAT_HEIGHT] >= height / 2) & (boxes[:, cv2.CC_STAT_WIDTH] >= width / 2)):
        if number == 0:  # what is not different
            continue
        left, top, columns, rows = boxes[number, :4]
        part = parts[top : top + rows, left : left + columns] == number
        # The first and last lines that are mostly filled: ticks may stick out of the axes of a plot.
        sides = [np.flatnonzero(part.mean(axis=axis) > 0.75) for axis in (1, 0)]
        if not all(len(side) > 1 and np.ptp(side) > 0.85 * length for side, length in zip(sides, part.shape, strict=True)):
            continue
        top, bottom = top + sides[0][0], top + sides[0][-1] + 1
        left, right = left + sides[1][0], left + sides[1][-1] + 1
        inside_picture = min(top, left, height - bottom, width - right) > 0
        if not inside_picture or bottom - top < height / 2 or right - left < width / 2:
            continue
        part = part[sides[0][0] : sides[0][-1] + 1, sides[1][0] : sides[1][-1] + 1]
        margin = (
            2
            + round(0.01 * max(part.shape))
            + max(_thickness(turned) for turned in (part, part[::-1], part.T, part.T[::-1]))
        )
        inside = int(top + margin), int(left + margin), int(bottom - margin), int(right - margin)
        if min(inside[2] - inside[0], inside[3] - inside[1]) >= 10 and np.ptp(_grey(_cut(colour, inside))) > _LEAST_CONTRAST:
            return inside
    return None


def _thickness(part: NDArray[np.bool_]) -> int:
    """Return how many of the first rows are a line; 0 where the whole is filled."""
    covered = part.mean(axis=1) > 0.6
    return 0 if covered[: len(covered) // 4].all() else int(covered.argmin())


# --- ink --------------------------------------------------------------------------------------------------


def _grey(colour: Floats) -> Floats:
    return cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)  # weighted as ITU-R BT.601 has it


def _ink(colour: Floats, polarity: Polarity) -> tuple[Floats, bool]:
    """Return the ink, 0 to 1, on paper of any colour and uneven light, and whether it is darker than the paper."""
    blurred = cv2.GaussianBlur(colour, (0, 0), max(colour.shape) / 400, borderType=cv2.BORDER_REFLECT)
    difference = _minus(blurred, _paper(blurred))
    lighter = _grey(difference)
    # Strokes stand out on one side, noise on both; the third power hears the few that stand out far.
    inverted = bool((lighter * lighter * lighter).sum() < 0) if polarity == "auto" else polarity == "dark-on-light"
    strength = _length(difference) / np.float32(np.sqrt(3))
    # What is clearly on the other side of the paper is a gleam or a shadow; ink may be just as light as coloured paper.
    strength[(lighter if inverted else -lighter) > 0.4 * strength] = 0
    _check_contrast(float(np.quantile(strength, 0.9999)))
    strong = strength[_otsu(strength)]
    if not len(strong):
        raise ImageError("no digit", "nothing stands out more than the rest")
    return np.clip(strength / np.median(strong), 0, 1), inverted


def _paper(colour: Floats) -> Floats:
    """Estimate the paper's colour: one for all where the light is even, else one for each place.

    In even light the picture falls into two narrow ranges, ink and what its edge mostly shows, however large the
    digit is. Else the paper is the median of a wide surrounding, in which strokes are the minority.
    """
    even = np.median(_edge(colour), axis=0)
    distance = _length(_minus(colour, even))
    ink = _otsu(distance)
    share = float(ink.mean())
    if not share or np.ptp(distance) < _LEAST_CONTRAST:
        return even  # nothing stands out; what varies may be rounding
    of_all, spread = (float(value[0, 0]) for value in cv2.meanStdDev(distance))
    of_ink = cv2.mean(distance, ink.view(np.uint8))[0]
    between = share / (1 - share) * (of_ink - of_all) ** 2  # the variance of the two groups' means
    if between > _EVEN * spread**2:
        return even
    height, width = colour.shape[:2]
    scale = 40 / max(height, width)
    size = max(2, round(scale * width)), max(2, round(scale * height))
    small = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
    around = cv2.copyMakeBorder(np.round(255 * small).astype(np.uint8), 8, 8, 8, 8, cv2.BORDER_REFLECT)
    median = cv2.medianBlur(around, 17)[8:-8, 8:-8].astype(np.float32) / np.float32(255)
    return cv2.resize(median, (width, height), interpolation=cv2.INTER_LINEAR)


def _minus(colour: Floats, paper: Floats) -> Floats:
    """Subtract one colour from all, or a picture; numpy takes thrice the time for one colour."""
    return cv2.subtract(colour, tuple(map(float, paper)) if paper.ndim == 1 else paper)


def _length(vectors: Floats) -> Floats:
    """Return the Euclidean length along the last axis."""
    return np.sqrt(cv2.transform(vectors * vectors, np.ones((1, vectors.shape[2]), np.float32)))


def _otsu(values: Floats) -> NDArray[np.bool_]:
    """Tell the upper of two groups of values from the lower (Otsu 1979)."""
    scaled = cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    threshold, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_OTSU)
    return scaled > threshold


def _label(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Give each connected part a number from 1, diagonal neighbours connected; return them and OpenCV's facts on each."""
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return parts, boxes


def _strokes(ink: Floats) -> Floats:
    """Keep the strokes without specks; the rest becomes paper."""
    parts, boxes = _label(ink > 0.5)
    sizes = boxes[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0  # the paper
    large = np.flatnonzero(sizes >= 0.1 * max(sizes.max(), 1))
    if len(large) > _MOST_PARTS:
        raise ImageError("no digit", f"{len(large)} pieces of the same size stand out, as in noise or a text")
    kept = np.isin(parts, large)
    # The soft edge of a stroke belongs to it.
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.where(cv2.dilate(kept.astype(np.uint8), cross, iterations=2) > 0, ink, np.float32(0))


def _widen(digit: Floats) -> tuple[Floats, float]:
    """Widen strokes so thin that they would fade in 20x20 pixels; return them and their width before."""
    side = max(digit.shape)
    inside = cv2.distanceTransform(np.pad(digit > 0.5, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    width = 4 * float(inside[inside > 0].mean())  # across a bar, the distance to its edge is a quarter on average
    if width / side >= _THIN:
        return digit, width / side
    radius = max(1, round((_PEN * side - width) / 2))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(np.pad(digit, radius), disk), width / side
