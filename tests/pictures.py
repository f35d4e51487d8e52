"""Rendered pictures of a 28x28 digit: for the tests, for benchmarks/pictures.py, and to try things on.

Each kind is a function from a digit (uint8, white on black) and a random generator to a file's content.
`python -m tests.pictures FOLDER` writes one of each kind, made from the embedded digits.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage.morphology import disk, skeletonize

from mnist_utils.data import synthetic

Digit = NDArray[np.uint8]
Floats = NDArray[np.floating]


def packed(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    if form == "HEIF":  # not as Pillow's plugin, which would read them too
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, form, **options)
    return file.getvalue()


def letter_on_paper() -> bytes:
    """Write a letter on paper."""
    return synthetic.render_on_paper(synthetic.out_of_distribution_images(1, seed=1)["letters"][0])


def strokes(digit: Digit, side: int = 168) -> Floats:
    """Return how much of each pixel is ink, 0 to 1, with smooth edges, as a pen would leave it."""
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    ink = np.asarray(large, np.float64) / 255
    return np.clip((ink - 0.25) / 0.35, 0, 1)


def sheet(ink: Floats, random: np.random.Generator, size: tuple[int, int] = (260, 300)) -> Floats:
    """Put the strokes somewhere on an empty sheet of (height, width)."""
    page = np.zeros(size)
    top, left = (int(random.integers(0, room + 1)) for room in np.subtract(size, ink.shape))
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return page


def painted(ink: Floats, colour: Any = (20, 20, 20), paper: Any = (250, 250, 250)) -> Floats:
    """Colour the ink and the paper; float, (height, width, 3), 0 to 255."""
    share = ink[..., None]
    return np.asarray(paper) * (1 - share) + np.asarray(colour) * share


def image(values: Floats) -> Image.Image:
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))


def as_is(digit: Digit, _: np.random.Generator) -> bytes:
    return packed(Image.fromarray(digit))


def inverted(digit: Digit, _: np.random.Generator) -> bytes:
    return packed(Image.fromarray(255 - digit))


def black_on_white(digit: Digit, random: np.random.Generator) -> bytes:
    return packed(image(painted(sheet(strokes(digit), random))))


def white_on_black(digit: Digit, random: np.random.Generator) -> bytes:
    return packed(image(painted(sheet(strokes(digit), random), (245, 245, 245), (15, 15, 15))))


def coloured(digit: Digit, random: np.random.Generator) -> bytes:
    import colorsys

    hue = random.random()
    ink = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.9, random.uniform(0.35, 0.7)))
    paper = 255 * np.array(colorsys.hsv_to_rgb((hue + random.uniform(0.25, 0.75)) % 1, 0.35, 0.95))
    return packed(image(painted(sheet(strokes(digit), random), ink, paper)))


def transparent(digit: Digit, random: np.random.Generator) -> bytes:
    alpha = sheet(strokes(digit), random)
    return packed(image(np.dstack([np.zeros((*alpha.shape, 3)), 255 * alpha])))


def sixteen_bit(digit: Digit, random: np.random.Generator) -> bytes:
    grey = painted(sheet(strokes(digit), random))[..., 0]
    return packed(Image.fromarray((grey * 257).astype(np.uint16)))


def palette(digit: Digit, random: np.random.Generator) -> bytes:
    return packed(image(painted(sheet(strokes(digit), random), (30, 60, 140))).convert("P", palette=Image.Palette.ADAPTIVE))


def one_bit(digit: Digit, random: np.random.Generator) -> bytes:
    return packed(image(painted(sheet(strokes(digit), random))).convert("1", dither=Image.Dither.NONE))


def cmyk_jpeg(digit: Digit, random: np.random.Generator) -> bytes:
    return packed(image(painted(sheet(strokes(digit), random))).convert("CMYK"), "JPEG", quality=85)


def exif_rotated(digit: Digit, random: np.random.Generator) -> bytes:
    # The tag's value and the turn that a viewer undoes by it.
    tag, turn = ((3, 2), (6, 1), (8, 3))[int(random.integers(3))]
    exif = Image.Exif()
    exif[0x0112] = tag
    return packed(image(np.rot90(painted(sheet(strokes(digit), random)), turn)), "JPEG", exif=exif.tobytes())


def gradient_and_shadow(digit: Digit, random: np.random.Generator) -> bytes:
    page = painted(sheet(strokes(digit), random), (30, 30, 60))
    y, x = np.indices(page.shape[:2]) / 300
    angle = random.uniform(0, 2 * np.pi)
    across = np.cos(angle) * x + np.sin(angle) * y
    across = (across - across.min()) / np.ptp(across)
    edge = random.uniform(0.3, 0.7)
    shadow = 1 - 0.4 / (1 + np.exp(-(across - edge) * 40))
    return packed(image(page * ((0.6 + 0.4 * across[::-1]) * shadow)[..., None]), "JPEG", quality=80)


def noise_and_jpeg(digit: Digit, random: np.random.Generator) -> bytes:
    page = painted(sheet(strokes(digit), random), (40, 40, 40), (225, 225, 225))
    return packed(image(page + random.normal(0, 22, page.shape)), "JPEG", quality=25)


def _ruled(page: Floats, random: np.random.Generator, colour: Any, axes: tuple[int, ...]) -> Floats:
    step = int(random.integers(22, 34))
    for axis in axes:
        for position in range(int(random.integers(step)), page.shape[axis], step):
            line = (slice(position, position + 2),) if axis == 0 else (slice(None), slice(position, position + 2))
            page[line] = np.minimum(page[line], colour)
    return page


def lined_paper(digit: Digit, random: np.random.Generator) -> bytes:
    page = painted(sheet(strokes(digit), random), (25, 25, 90))
    return packed(image(_ruled(page, random, (150, 170, 215), (0,))), "JPEG", quality=85)


def squared_paper(digit: Digit, random: np.random.Generator) -> bytes:
    page = painted(sheet(strokes(digit), random), (25, 25, 90))
    return packed(image(_ruled(page, random, (150, 170, 215), (0, 1))), "JPEG", quality=85)


def black_frame(digit: Digit, random: np.random.Generator) -> bytes:
    page = painted(sheet(strokes(digit), random))
    width, margin = int(random.integers(2, 14)), int(random.integers(0, 2)) * int(random.integers(4, 20))
    framed = np.pad(page, ((width, width), (width, width), (0, 0)), constant_values=0)
    return packed(
        image(np.pad(framed, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)), "JPEG", quality=80
    )


def matplotlib_jet(digit: Digit, _: np.random.Generator) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=80)
    figure.subplots().imshow(digit, cmap="jet")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def tiny_in_a_corner(digit: Digit, random: np.random.Generator) -> bytes:
    page = np.zeros((480, 640))
    small = strokes(digit, int(random.integers(40, 56)))
    top, left = ((4, 480 - small.shape[0] - 4)[random.integers(2)], (4, 640 - small.shape[1] - 4)[random.integers(2)])
    page[top : top + small.shape[0], left : left + small.shape[1]] = small
    return packed(image(painted(page)), "JPEG", quality=85)


def touching_the_border(digit: Digit, _: np.random.Generator) -> bytes:
    ink = strokes(digit)
    rows, columns = np.flatnonzero((ink > 0.5).any(axis=1)), np.flatnonzero((ink > 0.5).any(axis=0))
    return packed(image(painted(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])))


def thin_pen(digit: Digit, random: np.random.Generator) -> bytes:
    line = ndimage.binary_dilation(skeletonize(strokes(digit) > 0.5), iterations=1).astype(float)
    return packed(image(painted(sheet(line, random))).filter(ImageFilter.GaussianBlur(0.7)))


def thick_marker(digit: Digit, random: np.random.Generator) -> bytes:
    thick = ndimage.binary_dilation(strokes(digit) > 0.5, disk(4)).astype(float)
    return packed(image(painted(sheet(thick, random))).filter(ImageFilter.GaussianBlur(1)))


KINDS: dict[str, Callable[[Digit, np.random.Generator], bytes]] = {
    make.__name__: make
    for make in (
        as_is, inverted, black_on_white, white_on_black, coloured, transparent, sixteen_bit, palette, one_bit, cmyk_jpeg,
        exif_rotated, gradient_and_shadow, noise_and_jpeg, lined_paper, squared_paper, black_frame, matplotlib_jet,
        tiny_in_a_corner, touching_the_border, thin_pen, thick_marker,
    )
}  # fmt: skip


def main() -> None:
    from mnist_utils.data.datasets import load_dataset

    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description="Write a picture of each kind.")
    parser.add_argument("folder", type=Path, help="where; their names begin with the digit")
    folder: Path = parser.parse_args().folder
    random, digits = np.random.default_rng(0), load_dataset("digits")
    folder.mkdir(parents=True, exist_ok=True)
    suffixes = {b"\x89PNG": "png", b"\xff\xd8": "jpg"}
    for (name, make), digit, label in zip(KINDS.items(), digits.x_test, digits.y_test, strict=False):
        content = make(digit, random)
        suffix = next(suffix for start, suffix in suffixes.items() if content.startswith(start))
        (folder / f"{label}_{name}.{suffix}").write_bytes(content)


if __name__ == "__main__":
    main()
