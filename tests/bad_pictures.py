"""Small pictures of digits in every format and mode, and what a broken disk or an attacker makes of their bytes.

For `tests/test_bad_input.py` and `benchmarks/bad_input.py`.
"""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from mnist_utils.data.datasets import load_dataset
from tests.pictures import KINDS, Digit, image, packed, painted, sheet, strokes

PNG, JPEG, GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
REFUSED = ("ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "AVIF", "PDF", "EPS", "QOI")
NO_PICTURES = {
    "nothing": b"",
    "text": b"hello, I am a text " * 20,
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><path d='M 0 0 L 9 9'/></svg>",
}
_EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


def seeds(random: np.random.Generator) -> dict[str, bytes]:
    """Return whole pictures by name; a name's first word is the format. Those of `REFUSED` are no input for the reader."""
    dataset = load_dataset("digits")
    digits = iter(dataset.x_train[random.permutation(len(dataset.x_train))])
    made = chain(_pngs(digits, random), _jpegs(digits, random), _others(digits, random), _tiffs(digits, random))
    kinds = ((kind, make(next(digits), random)) for kind, make in KINDS.items())
    people = ((f"{'JPEG' if content.startswith(JPEG) else 'PNG'} as {kind}", content) for kind, content in kinds)
    return dict(chain(made, people)) | NO_PICTURES


def page(digit: Digit, random: np.random.Generator, mode: str = "RGB") -> Image.Image:
    """Draw a digit in dark blue on a small white sheet."""
    drawn = image(painted(sheet(strokes(digit, 56), random, (72, 80)), (20, 20, 90)))
    if mode == "I;16":
        return Image.fromarray(np.asarray(drawn.convert("L"), np.uint16) * 257)
    return drawn.convert(mode)


def _pngs(digits: Iterator[Digit], random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for mode in "1", "L", "LA", "P", "RGB", "RGBA", "I;16":
        yield f"PNG {mode}", packed(page(next(digits), random, mode))
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "a digit", zip=True)
    notes.add_itxt("Title", "a digit", "en")
    yield "PNG texts", packed(page(next(digits), random), pnginfo=notes, dpi=(300, 300))
    yield "PNG profile", packed(page(next(digits), random), icc_profile=_profile())
    yield "PNG exif", packed(page(next(digits), random), exif=_exif())
    yield "PNG transparent grey", packed(page(next(digits), random, "L"), transparency=255)
    yield "PNG transparent palette", packed(page(next(digits), random, "P"), transparency=bytes(range(0, 250, 10)))
    yield "PNG animated", packed(page(next(digits), random), save_all=True, append_images=[page(next(digits), random)])


def _jpegs(digits: Iterator[Digit], random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for mode in "L", "RGB", "CMYK":
        yield f"JPEG {mode}", packed(page(next(digits), random, mode), "JPEG")
    yield "JPEG progressive", packed(page(next(digits), random), "JPEG", progressive=True, quality=40)
    yield "JPEG restarts", packed(page(next(digits), random), "JPEG", restart_marker_blocks=2, comment=b"a digit")
    yield "JPEG exif", packed(page(next(digits), random), "JPEG", exif=_exif())
    yield "JPEG profile", packed(page(next(digits), random), "JPEG", icc_profile=_profile())
    more = [page(next(digits), random)]
    yield "MPO", packed(page(next(digits), random), "MPO", save_all=True, append_images=more)


def _tiffs(digits: Iterator[Digit], random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for mode in "1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16":
        drawn = page(next(digits), random, "RGB" if mode == "LAB" else mode)
        if mode == "LAB":
            profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
            drawn = ImageCms.profileToProfile(drawn, *profiles, outputMode="LAB") or drawn
            drawn.info.clear()  # the profile's time
        yield f"TIFF {mode}", packed(drawn, "TIFF")
    yield "TIFF I", packed(page(next(digits), random, "I"), "TIFF")
    values = np.asarray(page(next(digits), random, "L"), np.float32)
    values[:2] = np.array([[np.nan], [np.inf]])
    yield "TIFF F", packed(Image.fromarray(values), "TIFF")
    for compression in "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "lzma", "zstd":
        yield f"TIFF {compression}", packed(page(next(digits), random), "TIFF", compression=compression)
    for compression in "group3", "group4", "tiff_ccitt":
        yield f"TIFF {compression}", packed(page(next(digits), random, "1"), "TIFF", compression=compression)
    yield "TIFF big", packed(page(next(digits), random), "TIFF", big_tiff=True)
    more = [page(next(digits), random)]
    yield "TIFF pages", packed(page(next(digits), random), "TIFF", save_all=True, append_images=more)
    yield "TIFF exif", packed(page(next(digits), random), "TIFF", exif=_exif(), icc_profile=_profile())


def _others(digits: Iterator[Digit], random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for mode in "1", "L", "P", "RGB", "RGBA":
        yield f"BMP {mode}", packed(page(next(digits), random, mode), "BMP")
    yield "BMP run lengths", run_lengths(page(next(digits), random, "L"))
    for mode in "1", "L", "P", "RGB":
        yield f"GIF {mode}", packed(page(next(digits), random, mode), "GIF")
    more = [page(next(digits), random, "P") for _ in range(2)]
    options = {"save_all": True, "append_images": more, "duration": 40, "loop": 0, "comment": b"a digit"}
    yield "GIF animated", packed(page(next(digits), random, "P"), "GIF", **options)
    yield "GIF transparent", packed(page(next(digits), random, "P"), "GIF", transparency=0, interlace=False)
    for mode in "RGB", "RGBA":
        yield f"WEBP {mode}", packed(page(next(digits), random, mode), "WEBP")
        yield f"WEBP lossless {mode}", packed(page(next(digits), random, mode), "WEBP", lossless=True)
    more = [page(next(digits), random)]
    yield "WEBP animated", packed(page(next(digits), random), "WEBP", save_all=True, append_images=more)
    yield "WEBP exif", packed(page(next(digits), random), "WEBP", exif=_exif(), icc_profile=_profile())
    for form in REFUSED:
        options = {"creationDate": time.gmtime(0), "modDate": time.gmtime(0)} if form == "PDF" else {}
        yield form, packed(page(next(digits), random), form, **options)


def _profile() -> bytes:
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[:24] + bytes(12) + made[36:]  # without the time: the same bytes in each run


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a digit"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    return exif.tobytes()


def run_lengths(drawn: Image.Image) -> bytes:
    """Return a grey picture as a BMP in run-length encoding (RLE8), which Pillow reads and does not write."""
    plain = packed(drawn.convert("L"), "BMP")
    body = bytearray()
    for row in np.asarray(drawn.convert("L"))[::-1]:
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


# --- what happens to the bytes ---


def mutated(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Change one to three places; `other` is a picture that parts may come from.

    In half of the PNGs the chunks' checksums are made right again: else nearly all of them would be refused for it.
    """
    changed = content
    for _ in range(int(random.integers(1, 4))):
        change = CHANGES[int(random.integers(len(CHANGES)))]
        changed = change(changed, other, random)
    return _checked(changed) if changed.startswith(PNG) and random.random() < 0.5 else changed


def _place(content: bytes, random: np.random.Generator) -> int:
    """Choose a place: in the head, in the tail (where TIFF keeps its tags), or anywhere."""
    size = len(content)
    low, high = ((0, min(size, 64)), (max(0, size - 200), size), (0, size))[int(random.integers(3))]
    return int(random.integers(low, high + 1))


def _bit(content: bytes, _: bytes, random: np.random.Generator) -> bytes:
    place = max(0, min(_place(content, random), len(content) - 1))
    return (
        content[:place]
        + bytes(byte ^ 1 << int(random.integers(8)) for byte in content[place : place + 1])
        + content[place + 1 :]
    )


def _edge_number(content: bytes, _: bytes, random: np.random.Generator) -> bytes:
    """Overwrite a length, an offset or a side with one that nobody expects."""
    place, edge = _place(content, random), _EDGES[int(random.integers(len(_EDGES)))]
    form = ("B", "<H", ">H", "<I", ">I")[int(random.integers(5))]
    new = struct.pack(form, edge & (1 << 8 * struct.calcsize(form)) - 1)
    return content[:place] + new + content[place + len(new) :]


def _cut_off(content: bytes, _: bytes, random: np.random.Generator) -> bytes:
    return content[: _place(content, random)]


def _cut_out(content: bytes, _: bytes, random: np.random.Generator) -> bytes:
    place = _place(content, random)
    return content[:place] + content[place + int(random.integers(1, 40)) :]


def _insert(content: bytes, _: bytes, random: np.random.Generator) -> bytes:
    place = _place(content, random)
    return content[:place] + random.bytes(int(random.integers(1, 40))) + content[place:]


def _repeat(content: bytes, _: bytes, random: np.random.Generator) -> bytes:
    place = _place(content, random)
    return content[:place] + content[place : place + int(random.integers(1, 200))] * 2 + content[place:]


def _splice(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    return content[: _place(content, random)] + other[_place(other, random) :]


def _chunk(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Double a chunk, leave one out, exchange two, or take one from the other picture."""
    parts = chunks(content)
    one, two = (int(random.integers(len(parts))) for _ in range(2))
    match int(random.integers(4)):
        case 0:
            parts.insert(two, parts[one])
        case 1:
            del parts[one]
        case 2:
            parts[one], parts[two] = parts[two], parts[one]
        case _:
            others = chunks(other)
            parts.insert(two, others[int(random.integers(len(others)))])
    return b"".join(parts)


CHANGES: tuple[Callable[[bytes, bytes, np.random.Generator], bytes], ...] = (
    _bit, _edge_number, _edge_number, _cut_off, _cut_out, _insert, _repeat, _splice, _chunk, _chunk,
)  # fmt: skip


def chunks(content: bytes) -> list[bytes]:
    """Take a picture apart: a PNG's or WebP's chunks, a JPEG's segments, a TIFF's tags, else pieces of 64 bytes."""
    cuts = [0]
    if content.startswith(PNG):
        cuts = [0, 8]
        while cuts[-1] + 8 <= len(content):
            cuts.append(cuts[-1] + 12 + struct.unpack_from(">I", content, cuts[-1])[0])
    elif content.startswith(b"RIFF"):
        cuts = [0, 12]
        while cuts[-1] + 8 <= len(content):
            cuts.append(cuts[-1] + 8 + (struct.unpack_from("<I", content, cuts[-1] + 4)[0] + 1) // 2 * 2)
    elif content.startswith(JPEG):
        cuts = [0, 2]
        while cuts[-1] + 4 <= len(content) and content[cuts[-1]] == 255 and content[cuts[-1] + 1] != 0xDA:
            cuts.append(cuts[-1] + 2 + struct.unpack_from(">H", content, cuts[-1] + 2)[0])
    elif content[:4] == b"II*\0" and len(content) >= 8:
        tags = struct.unpack_from("<I", content, 4)[0] + 2
        count = struct.unpack_from("<H", content, tags - 2)[0] if tags <= len(content) else 0
        cuts = [0, *(tags + 12 * tag for tag in range(count + 1))]
    else:
        cuts = list(range(0, len(content), 64)) or [0]
    cuts = [cut for cut in cuts if cut < len(content)] or [0]
    return [content[start:end] for start, end in zip(cuts, [*cuts[1:], len(content)], strict=True)]


def _checked(content: bytes) -> bytes:
    """Make the checksums of a PNG's chunks right again, as far as the chunks can be told apart."""

    def right(chunk: bytes) -> bytes:
        whole = len(chunk) >= 12 and re.fullmatch(rb"[A-Za-z]{4}", chunk[4:8])
        return chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])) if whole else chunk

    return b"".join(map(right, chunks(content)))
