from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageDraw, ImageOps

from mnist_utils.data.datasets import load_dataset
from mnist_utils.preprocessing.center import center_digit
from mnist_utils.preprocessing.decode import MAX_BYTES, ErrorKind, ImageError
from mnist_utils.preprocessing.reader import preprocess
from tests.pictures import packed, strokes


def seven(size: tuple[int, int] = (200, 160), ink: Any = "black", paper: Any = "white", mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, size, paper)
    ImageDraw.Draw(image).line([(50, 40), (110, 40), (80, 120)], fill=ink, width=12, joint="curve")
    return image


EXPECTED = preprocess(packed(seven())).image


def close(image: np.ndarray, tolerance: float = 15) -> bool:
    return bool(np.abs(image.astype(float) - EXPECTED).mean() < tolerance)


def test_strokes_are_white_on_black_in_a_20x20_box_centred_by_mass() -> None:
    assert EXPECTED.dtype == np.uint8
    assert EXPECTED.max() == 255
    rows, columns = np.flatnonzero(EXPECTED.any(axis=1)), np.flatnonzero(EXPECTED.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    weights = EXPECTED / EXPECTED.sum()
    assert abs(weights.sum(axis=1) @ np.arange(28) - 14) <= 0.51
    assert EXPECTED[rows[0] + 1, columns[0] + 1 : columns[0] + 12].min() > 200  # the bar of the seven
    assert EXPECTED[rows[-1] - 2, columns[0]] == 0  # nothing at its lower left


@pytest.mark.parametrize(
    ("name", "content", "inverted"),
    [
        ("white on black", packed(seven(ink="white", paper="black")), False),
        ("blue on yellow", packed(seven(ink=(20, 20, 160), paper=(250, 240, 150))), True),
        ("jpeg", packed(seven(), "JPEG", quality=60), True),
        ("grey", packed(seven().convert("L")), True),
        ("palette", packed(seven().convert("P")), True),
        ("1 bit", packed(seven().convert("1")), True),
        ("cmyk", packed(seven().convert("CMYK"), "JPEG"), True),
        ("transparent", packed(seven(ink=(0, 0, 0, 255), paper=(0, 0, 0, 0), mode="RGBA")), True),
        ("16 bit", packed(Image.fromarray(np.asarray(seven().convert("L"), np.uint16) * 257)), True),
        ("webp", packed(seven(), "WEBP"), True),
        ("heic", packed(seven(), "HEIF"), True),
        ("avif", packed(seven(), "AVIF"), True),
        ("bmp", packed(seven(), "BMP"), True),
        ("tiff", packed(seven(), "TIFF"), True),
        ("gif", packed(seven(), "GIF"), True),
        ("off centre", packed(seven(size=(600, 400))), True),
    ],
)
def test_reads_the_same_digit_from(name: str, content: bytes, inverted: bool) -> None:
    reading = preprocess(content)
    assert close(reading.image), name
    assert reading.inverted == inverted, name


def test_polarity_can_be_forced() -> None:
    assert close(preprocess(packed(seven()), polarity="dark-on-light").image)
    with pytest.raises(ImageError) as caught:
        preprocess(packed(seven()), polarity="light-on-dark")
    assert caught.value.kind == "no digit"


def test_reports_the_box_of_the_digit() -> None:
    left, top, right, bottom = preprocess(packed(seven())).crop
    assert (left, top, right, bottom) == pytest.approx((44 / 200, 34 / 160, 117 / 200, 126 / 160), abs=0.03)


def test_a_speck_is_not_part_of_the_digit() -> None:
    image = seven()
    ImageDraw.Draw(image).rectangle((180, 140, 183, 143), fill="black")
    assert close(preprocess(packed(image)).image)


def test_an_mnist_image_passes_through_and_so_does_its_negative() -> None:
    for digit in load_dataset("digits").x_test[:20]:
        stretched = np.round(digit * (255 / digit.max())).astype(np.uint8)
        for picture, inverted in (stretched, False), (255 - stretched, True):
            reading = preprocess(packed(Image.fromarray(picture)))
            np.testing.assert_array_equal(reading.image, stretched)
            assert reading.inverted == inverted


def test_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "seven.png").write_bytes(packed(seven()))
    np.testing.assert_array_equal(preprocess(tmp_path / "seven.png").image, EXPECTED)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "not a picture"),
        (b"hello, I am a text", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (packed(seven(), "JPEG")[:900], "cannot be decoded"),
        (packed(seven())[:200], "cannot be decoded"),
        (packed(Image.new("L", (50, 50), 255)), "no digit"),
        (packed(Image.new("L", (50, 50), 0)), "no digit"),
        (packed(seven(), "PDF"), "not a picture"),
        (bytes(MAX_BYTES + 1), "too large"),
        (Path("/dev/zero"), "too large"),
        (Path("nosuch.png"), "cannot be opened"),
        (Path("/dev"), "cannot be opened"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "half a jpeg",
        "half a png",
        "white",
        "black",
        "pdf",
        "bytes",
        "device",
        "missing",
        "folder",
    ],
)
def test_a_picture_without_a_digit_is_an_error(content: bytes | Path, kind: ErrorKind) -> None:
    with pytest.raises(ImageError) as caught:
        preprocess(content)
    assert caught.value.kind == kind
    assert str(caught.value).startswith(kind)


def test_too_many_bytes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError, match=r"too large: .*20,000,000 bytes"):
        preprocess(tmp_path / "big.png")


def test_files_that_cannot_be_opened_say_why(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be opened: No such file"):
        preprocess(tmp_path / "nosuch.png")
    with pytest.raises(ImageError, match="a folder without a picture in it"):
        preprocess(tmp_path)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0"])
def test_a_broken_exif_is_ignored(exif: bytes) -> None:
    assert close(preprocess(packed(seven(), exif=exif)).image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = packed(seven(), "JPEG", exif=exif.tobytes())
    expected = preprocess(packed(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))))).image
    np.testing.assert_array_equal(preprocess(turned).image, expected)


@pytest.mark.parametrize(("orientation", "back"), [(6, Image.Transpose.ROTATE_90), (3, Image.Transpose.ROTATE_180)])
@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_a_phones_picture_is_turned_upright_once(form: str, orientation: int, back: Image.Transpose) -> None:
    """These formats say how the camera was held in the picture's own header; EXIF may say so again."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    held = seven().transpose(back)
    file = io.BytesIO()
    if form == "HEIF":
        pillow_heif.encode(held.mode, held.size, held.tobytes(), file, exif=exif.tobytes())
    else:
        held.save(file, form, exif=exif)
    assert b"irot" in file.getvalue()
    assert close(preprocess(file.getvalue()).image)


def test_a_pdf_is_refused_with_the_fix() -> None:
    with pytest.raises(
        ImageError, match=r"not a picture: a PDF; save its page as a PNG .poppler-utils: pdftoppm -png"
    ) as caught:
        preprocess(packed(seven(), "PDF"))
    assert caught.value.kind == "not a picture"


def test_a_28x28_picture_that_is_not_mnist_like_is_read_as_any_other() -> None:
    digit = load_dataset("digits").x_test[0]
    framed = 255 - digit
    framed[[0, -1]] = framed[:, [0, -1]] = 0
    moved = np.roll(digit, 4, axis=1) if digit[:, -4:].max() == 0 else np.roll(digit, -4, axis=1)
    for picture in framed, moved:
        found = preprocess(packed(Image.fromarray(picture))).image.astype(float)
        assert np.abs(found - digit * (255 / digit.max())).mean() < 25


@pytest.mark.parametrize("bits", [8, 16])
def test_noise_and_a_single_pixel_show_no_digit(bits: int) -> None:
    random = np.random.default_rng(0)
    kind, top = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
    noise = random.integers(0, top + 1, (200, 200)).astype(kind)
    faint = random.integers(0, top // 3000 + 1, (200, 200)).astype(kind)
    dot = np.full((200, 200), top, kind)
    dot[90, 90] = 0
    for picture in noise, faint, dot:
        with pytest.raises(ImageError) as caught:
            preprocess(packed(Image.fromarray(picture)))
        assert caught.value.kind == "no digit"


def test_pillows_log_does_not_reach_stderr() -> None:
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 122, 278: 8, 279: 64}  # 277: samples per pixel
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    code = """if True:
        import contextlib, sys
        from mnist_utils.preprocessing.reader import ImageError, preprocess
        with contextlib.suppress(ImageError):
            preprocess(sys.stdin.buffer.read())"""
    done = subprocess.run([sys.executable, "-c", code], input=tiff, capture_output=True, check=True)
    assert done.stderr == b""


def test_two_colours_without_a_digit_give_at_most_an_image_error() -> None:
    halves = np.full((12, 46, 3), (180, 208, 41), np.uint8)
    halves[:, 23:] = (122, 225, 146)
    random = np.random.default_rng(0)
    pictures: list[Any] = [halves]
    for size in SIZES:
        one, other = random.integers(0, 256, (2, 3))
        pictures.append(np.where(random.random((*size, 1)) < 0.5, one, other))
    for picture in pictures:
        with contextlib.suppress(ImageError):
            preprocess(packed(Image.fromarray(picture.astype(np.uint8))))


SIZES = [(rows, columns) for rows in (1, 2, 3, 12, 28) for columns in (1, 2, 5, 29, 78)]


@pytest.mark.parametrize("noise", [0.5, 3])
@pytest.mark.parametrize("lamp", [0, 0.3])
@pytest.mark.parametrize("specks", [0, 1, 12])
def test_blank_paper_is_refused_whatever_its_light_its_noise_and_its_specks(noise: float, lamp: float, specks: int) -> None:
    random = np.random.default_rng([specks, int(10 * noise), int(10 * lamp)])
    for height, width in (300, 400), (1200, 900):
        paper = np.full((height, width, 3), random.uniform(225, 255, 3))
        paper *= (1 - lamp * np.linspace(0, 1, width))[None, :, None]
        paper += random.normal(0, noise, paper.shape)
        for x, y, radius in random.uniform(0, (width, height, 0.01 * min(width, height)), (specks, 3)):
            cv2.circle(paper, (int(x), int(y)), max(1, int(radius)), random.uniform(40, 170, 3).tolist(), cv2.FILLED)
        with pytest.raises(ImageError) as caught:
            preprocess(packed(Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8)), "JPEG", quality=85))
        assert caught.value.kind == "no digit"


@pytest.mark.parametrize("light", ["step", "falls off", "slopes"])
def test_small_digits_are_read_in_uneven_light(light: str) -> None:
    across, random = np.linspace(0, 1, 400), np.random.default_rng(1)
    lit = {
        "step": 0.4 + 0.6 / (1 + np.exp(-(across - 0.5) / 0.05)),
        "falls off": np.exp(-2.5 * across),
        "slopes": 0.5 + across / 2,
    }
    alike = []
    for digit in load_dataset("digits").x_test[:20]:
        ink, (top, left) = np.zeros((300, 400)), random.integers(0, (240, 340))
        ink[top : top + 60, left : left + 60] = strokes(digit, 60)
        page = (245 - 195 * ink) * lit[light] + random.normal(0, 2, ink.shape)
        try:
            seen = preprocess(packed(Image.fromarray(np.clip(page, 0, 255).astype(np.uint8)))).image
        except ImageError:
            seen = np.eye(28, dtype=np.uint8)
        alike.append(np.corrcoef(seen.ravel(), center_digit(digit / 255).ravel())[0, 1] > 0.8)
    assert sum(alike) >= 18


def test_a_digit_on_a_narrow_strip_is_no_speck() -> None:
    strip = Image.new("L", (2000, 60), 255)
    ImageDraw.Draw(strip).line([(985, 6), (1015, 6), (995, 54)], fill=0, width=6, joint="curve")
    found = preprocess(packed(strip))
    assert found.crop == pytest.approx((0.49, 0.05, 0.51, 0.95), abs=0.06)


def test_an_avif_of_a_general_brand_is_read() -> None:
    assert close(preprocess(packed(seven(), "AVIF").replace(b"ftypavif", b"ftypmif1", 1)).image)
