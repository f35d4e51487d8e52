"""Pictures of every format and mode, and what a broken disk or an attacker makes of their bytes: a hypothesis strategy.

For the tests, and for `benchmarks/bad_input.py`, which draws many more of them.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from mnist_utils.data.datasets import load_dataset
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.preprocessing.reader import preprocess
from tests.pictures import image, packed, painted, sheet, strokes

Variant = tuple[str, str, dict[str, Any]]  # format, mode, options of the encoder

STATUS: dict[str, int] = {"read": 200, "cannot be decoded": 400, "too large": 413, "not a picture": 415, "no digit": 422}


def outcome_of(content: bytes) -> str:
    """Preprocess a picture as it should be: "read", or the kind of its `ImageError`; no other error may come out."""
    try:
        found = preprocess(content)
    except ImageError as error:
        assert str(error).startswith(error.kind)  # noqa: PT017 - either is right
        return error.kind
    assert found.image.shape == (28, 28)
    assert found.image.dtype == np.uint8
    assert found.image.max() > 0
    assert 0 <= min(found.crop) <= max(found.crop) <= 1
    return "read"


# --- whole pictures ---


def _notes() -> PngImagePlugin.PngInfo:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "a digit", zip=True)
    notes.add_itxt("Title", "a digit", "en")
    return notes


VARIANTS: list[Variant] = [
    *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    ("PNG", "RGB", {"pnginfo": _notes(), "dpi": (300, 300)}),
    ("PNG", "L", {"transparency": 255}),
    ("PNG", "P", {"transparency": bytes(range(0, 250, 10))}),
    *(("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")),
    ("JPEG", "RGB", {"progressive": True, "quality": 40}),
    ("JPEG", "RGB", {"restart_marker_blocks": 2, "comment": b"a digit"}),
    ("MPO", "RGB", {}),
    *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
    ("BMP RLE8", "L", {}),
    *(("GIF", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
    ("GIF", "P", {"transparency": 0, "interlace": False, "comment": b"a digit"}),
    *(("WEBP", mode, {"lossless": lossless}) for mode in ("L", "P", "RGB", "RGBA") for lossless in (False, True)),
    *(("AVIF", mode, {}) for mode in ("L", "RGB", "RGBA")),
    *(("HEIF", mode, {}) for mode in ("L", "LA", "RGB", "RGBA", "I;16")),
    *(("TIFF", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")),
    *(("TIFF", "1", {"compression": way}) for way in ("group3", "group4", "tiff_ccitt")),
    *(
        ("TIFF", "RGB", {"compression": way})
        for way in ("packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "lzma", "zstd")
    ),
    ("TIFF", "RGB", {"big_tiff": True}),
]
REFUSED: list[Variant] = [
    ("ICO", "RGB", {"sizes": [(1, 1)]}),  # Pillow makes no icon larger than the picture
    *((form, "RGB", {}) for form in ("PPM", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "PDF", "EPS", "QOI")),
]

_NUMBERS: dict[str, NDArray[Any]] = {
    "F": np.array([0, 1, -1e38, 3.4e38, math.nan, math.inf, -math.inf], np.float32),
    "I": np.array([0, 255, -(2**31), 2**31 - 1], np.int32),
    "I;16": np.array([0, 1, 255, 65535], np.uint16),
}
_DIGITS = load_dataset("digits").x_train[:50]


def draw_digit(size: tuple[int, int], mode: str, random: np.random.Generator) -> Image.Image:
    """Draw a digit in dark blue on a white sheet."""
    ink = strokes(random.choice(_DIGITS), max(1, 3 * min(size) // 4))
    return _converted(image(painted(sheet(ink, random, size[::-1]), (20, 20, 90))), mode)


def _draw_anything(kind: str, size: tuple[int, int], mode: str, random: np.random.Generator) -> Image.Image:
    width, height = size
    if kind == "digit":
        return draw_digit(size, mode, random)
    if kind == "extremes" and mode in _NUMBERS:
        return Image.fromarray(random.choice(_NUMBERS[mode], (height, width)))
    if kind == "noise":
        return _converted(Image.fromarray(random.integers(0, 256, (height, width, 4), np.uint8)), mode)
    picture = Image.new("RGBA", size, tuple(random.integers(0, 256, 4).tolist()))
    if kind == "line":
        picture.paste((0, 0, 0, 255), (width // 3, height // 4, width // 3 + max(1, width // 9), height - height // 4))
    return _converted(picture, mode)


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        made = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    elif mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        made = ImageCms.profileToProfile(picture.convert("RGB"), *profiles, outputMode="LAB") or picture
    else:
        made = (picture if mode in ("RGBA", "LA") else picture.convert("RGB")).convert(mode)
    made.info.clear()  # transparency of what it was made from; the time of a profile
    return made


def encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    """Return a file's content."""
    return run_lengths(picture) if form == "BMP RLE8" else packed(picture, form, **options)


def run_lengths(picture: Image.Image) -> bytes:
    """Return a grey picture as a BMP in run-length encoding (RLE8), which Pillow reads and does not write."""
    plain = packed(picture, "BMP")
    body = bytearray()
    for row in np.asarray(picture)[::-1]:
        starts = np.flatnonzero(np.diff(row, prepend=~row[:1]))
        for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
            for begun in range(start, end, 255):
                body += bytes((min(255, end - begun), row[start]))
        body += b"\0\0"
    body += b"\0\1"
    head = bytearray(plain[: struct.unpack_from("<I", plain, 10)[0]])
    struct.pack_into("<I", head, 2, len(head) + len(body))
    struct.pack_into("<II", head, 30, 1, len(body))
    return bytes(head + body)


def exif_orientation(value: int) -> bytes:
    """Return an EXIF block that says how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = value
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    return exif.tobytes()


_SIDES = st.one_of(st.integers(1, 100), st.sampled_from([27, 28, 29, 511, 513, 1025, 3000]))
_SIZES = st.tuples(_SIDES, _SIDES).filter(lambda size: math.prod(size) <= 200_000)


@st.composite
def whole_pictures(draw: st.DrawFn) -> bytes:
    """Draw a picture of any format, mode, size, transparency, EXIF, colour profile and number of frames."""
    form, mode, options = draw(st.sampled_from(VARIANTS * 4 + REFUSED))
    kinds = st.sampled_from(["digit", "digit", "line", "noise", "one colour", "extremes"])
    size, random = draw(_SIZES), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    options = dict(options)
    compressed = "compression" in options  # by LibTIFF, which takes none of the following
    if form in ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "TIFF") and not compressed:
        exif, profiles = st.integers(0, 65535).map(exif_orientation), st.binary(min_size=1, max_size=200)
        options |= draw(st.fixed_dictionaries({}, optional={"exif": exif, "icc_profile": profiles}))
    if form in ("GIF", "PNG") and mode in ("1", "L", "P") and "transparency" not in options and draw(st.booleans()):
        options["transparency"] = draw(st.integers(0, 255))
    # Pillow writes no animated PNG with one transparent colour.
    still = compressed or (form == "PNG" and "transparency" in options)
    if form in ("GIF", "MPO", "PNG", "TIFF", "WEBP") and not still:
        more = [_draw_anything(draw(kinds), size, mode, random) for _ in range(draw(st.integers(0, 2)))]
        options |= {"save_all": True, "append_images": more} if more else {}
    return encode(_draw_anything(draw(kinds), size, mode, random), form, **options)


# --- broken pictures ---

_PNG = b"\x89PNG\r\n\x1a\n"
_EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_SIZE_FIELDS = [  # what is right before the width and the height in a PNG, a GIF, a BMP, a JPEG, a HEIF or AVIF
    (rb"\A\x89PNG.{12}", ">II"),
    (rb"\AGIF8[79]a", "<HH"),
    (rb"\ABM.{16}", "<II"),
    (rb"\A\xff\xd8.*?\xff[\xc0\xc2]...", ">HH"),
    (rb"\A....ftyp.*?ispe....", ">II"),
]


def claim_size(content: bytes, width: int, height: int) -> bytes:
    """Return a PNG, GIF, BMP, JPEG, HEIF or AVIF whose header claims another size; others as they are."""
    for before, form in _SIZE_FIELDS:
        if (found := re.search(before, content[:4096], re.DOTALL)) and found.end() + struct.calcsize(form) <= len(content):
            most = (1 << 4 * struct.calcsize(form)) - 1
            sides = struct.pack(form, min(width, most), min(height, most))
            return with_checksums(content[: found.end()] + sides + content[found.end() + len(sides) :])
    return content


def chunks_of(png: bytes) -> list[bytes]:
    """Take a PNG apart: its signature and its chunks, as far as their lengths can be believed."""
    cuts = [0, 8]
    while cuts[-1] + 8 <= len(png):
        cuts.append(cuts[-1] + 12 + int.from_bytes(png[cuts[-1] : cuts[-1] + 4]))
    return [png[start:end] for start, end in zip(cuts, [*cuts[1:], len(png)], strict=True) if start < len(png)]


def with_checksums(content: bytes) -> bytes:
    """Make the checksums of a PNG's chunks right again: else nearly every broken one would be refused for them."""

    def right(chunk: bytes) -> bytes:
        complete = len(chunk) >= 12 and re.fullmatch(rb"[A-Za-z]{4}", chunk[4:8])
        return chunk[:-4] + zlib.crc32(chunk[4:-4]).to_bytes(4) if complete else chunk

    return b"".join(map(right, chunks_of(content))) if content.startswith(_PNG) else content


def _place(draw: st.DrawFn, content: bytes) -> int:
    """Choose a place: in the head, in the tail (where TIFF keeps its tags), anywhere, or at the length of a PNG's chunk."""
    size = len(content)
    places = [st.integers(0, min(size, 64)), st.integers(max(0, size - 200), size), st.integers(0, size)]
    if content.startswith(_PNG):
        places.append(st.sampled_from(list(accumulate(map(len, chunks_of(content))))))
    return draw(st.one_of(places))


def _flip_bit(draw: st.DrawFn, content: bytes) -> bytes:
    place, bit = _place(draw, content), draw(st.integers(0, 7))
    return content[:place] + bytes(byte ^ 1 << bit for byte in content[place : place + 1]) + content[place + 1 :]


def _overwrite_number(draw: st.DrawFn, content: bytes) -> bytes:
    """Overwrite a length, an offset or a side with one that nobody expects."""
    place, size = _place(draw, content), draw(st.sampled_from([1, 2, 4]))
    number = draw(st.sampled_from(_EDGES)) & (1 << 8 * size) - 1
    return content[:place] + number.to_bytes(size, draw(st.sampled_from(["little", "big"]))) + content[place + size :]


def _change_size(draw: st.DrawFn, content: bytes) -> bytes:
    sides = st.sampled_from([side for side in _EDGES if side])
    return claim_size(content, draw(sides), draw(sides))


def _cut_off(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


def _cut_out(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + content[place + draw(st.integers(1, 40)) :]


def _insert(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + draw(st.binary(min_size=1, max_size=40)) + content[place:]


def _repeat(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + content[place : place + draw(st.integers(1, 200))] * 2 + content[place:]


def _splice(draw: st.DrawFn, content: bytes) -> bytes:
    other = draw(whole_pictures())
    return content[: draw(st.integers(0, len(content)))] + other[_place(draw, other) :]


def _exchange_chunks(draw: st.DrawFn, content: bytes) -> bytes:
    """Put a PNG's chunks into another order, or leave some out; other pictures as they are."""
    if not content.startswith(_PNG):
        return content
    signature, *parts = chunks_of(content)
    return signature + b"".join(draw(st.lists(st.sampled_from(parts), max_size=2 * len(parts)))) if parts else content


CHANGES: list[Callable[[st.DrawFn, bytes], bytes]] = [
    _flip_bit, _overwrite_number, _change_size, _cut_off, _cut_out, _insert, _repeat, _splice, _exchange_chunks,
]  # fmt: skip


@st.composite
def broken_pictures(draw: st.DrawFn) -> bytes:
    """Draw a picture and change one to three places of its bytes."""
    content = draw(whole_pictures())
    for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3)):
        content = change(draw, content)
    return with_checksums(content) if draw(st.booleans()) else content


def pictures() -> st.SearchStrategy[bytes]:
    """Draw a picture, broken in two cases of three."""
    return st.one_of(whole_pictures(), broken_pictures(), broken_pictures())
