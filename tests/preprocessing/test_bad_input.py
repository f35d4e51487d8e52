from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from benchmarks import bad_input
from mnist_utils.preprocessing.decode import FORMATS, ImageError, decode_picture
from mnist_utils.preprocessing.reader import PreprocessedImage, preprocess
from tests.asking import BLACK_ON_WHITE
from tests.fuzz import (
    REFUSED,
    STATUS,
    VARIANTS,
    Variant,
    chunks_of,
    claim_size,
    draw_digit,
    encode,
    outcome_of,
    pictures,
    with_checksums,
)
from tests.pictures import packed
from tests.preprocessing.test_reader import seven

LIMIT = 60_000  # milliseconds; a picture takes 10 to 100


@given(content=pictures())
@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=LIMIT,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_bytes_give_a_digit_or_an_image_error(content: bytes) -> None:
    assert outcome_of(content) in STATUS


@pytest.mark.parametrize("variant", VARIANTS + REFUSED, ids=lambda variant: "-".join(map(str, variant[:2])))
def test_a_digit_in_every_format_and_mode_is_read_and_other_formats_are_rejected(variant: Variant) -> None:
    form, mode, options = variant
    content = encode(draw_digit((72, 80), mode, np.random.default_rng(1)), form, **options)
    assert outcome_of(content) == ("not a picture" if variant in REFUSED else "read")


def test_every_allowed_format_is_tested() -> None:
    assert {form.partition(" ")[0] for form, _, _ in VARIANTS} == {*FORMATS, "MPO"}


def test_a_longer_run_counts_outcomes() -> None:
    seen = bad_input.read_pictures(seed=0, n=150)
    assert 150 <= sum(seen.outcomes.values()) < 200  # hypothesis tries some again
    assert seen.outcomes["read"] > 10
    report = bad_input.table([seen, seen], [1.0])
    assert f"| read | 200 | {2 * seen.outcomes['read']:,} |" in report


EMPTY = PreprocessedImage(np.zeros((28, 28), np.uint8), inverted=False, crop=(0, 0, 1, 1))


@pytest.mark.parametrize(("wrong", "error"), [(lambda _: 1 / 0, ZeroDivisionError), (lambda _: EMPTY, AssertionError)])
def test_another_error_and_an_empty_image_are_noticed(
    wrong: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.preprocess", wrong)
    with pytest.raises(error):
        outcome_of(BLACK_ON_WHITE)


# --- regressions, and cases that random changes might miss ---


def test_a_damaged_tag_gives_no_warning() -> None:
    valid = packed(seven(), "TIFF")
    tags = int.from_bytes(valid[4:8], "little")
    outcomes = set()
    for tag in range(int.from_bytes(valid[tags : tags + 2], "little")):
        length = tags + 2 + 12 * tag + 4
        outcomes.add(outcome_of(valid[:length] + b"\xff\xff\xff\x7f" + valid[length + 4 :]))
    assert outcomes == {"read", "not a picture"}


def test_a_missing_palette_is_an_error() -> None:
    without = b"".join(chunk for chunk in chunks_of(packed(seven().convert("P"))) if chunk[4:8] != b"PLTE")
    with pytest.raises(ImageError, match=r"cannot be decoded: .*palette"):
        preprocess(without)


def test_a_chunk_with_an_incorrect_length_is_an_error() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    signature, header, data, end = chunks_of(packed(noise))
    assert outcome_of(signature + header + (100).to_bytes(4) + data[4:] + end) == "cannot be decoded"


@pytest.mark.parametrize("side", [8_000, 50_000])  # the second is too large for Pillow, too
@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "JPEG", "HEIF", "AVIF"])
def test_a_header_that_claims_a_huge_size_is_not_decoded(form: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = claim_size(packed(seven(), form), side, side)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    # libavif does not even tell of a size beyond its own limit.
    assert outcome_of(bomb) == ("not a picture" if (form, side) == ("AVIF", 50_000) else "too large")


def test_checksums_are_corrected() -> None:
    other = BLACK_ON_WHITE[:20] + b"\1" + BLACK_ON_WHITE[21:]
    assert with_checksums(other) != other
    assert with_checksums(BLACK_ON_WHITE[:29] + bytes(4) + BLACK_ON_WHITE[33:]) == BLACK_ON_WHITE


def test_a_very_long_side_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"too large: .*65,535"):
        preprocess(packed(Image.new("1", (10, 70_000))))


@pytest.mark.parametrize("mode", ["F", "RGBA", "I;16"])
def test_a_large_picture_takes_little_more_memory_than_its_own_pixels(mode: str) -> None:
    large: dict[str, Any] = {
        "RGBA": Image.new("RGBA", (4000, 4000)),
        "F": Image.fromarray(np.zeros((4000, 4000), np.float32)),
        "I;16": Image.fromarray(np.zeros((4000, 4000), np.uint16)),
    }
    content = packed(large[mode], "TIFF", compression="tiff_adobe_deflate")
    program = """if True:  # a process of its own: the peak is that of the process's complete life
        import sys
        from pathlib import Path
        from mnist_utils.preprocessing.reader import ImageError, preprocess

        def peak() -> int:
            return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))

        content, before = sys.stdin.buffer.read(), peak()
        try:
            preprocess(content)
        except ImageError as error:
            print(error.kind, peak() - before, sep="\\n")"""
    done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
    outcome, grown = done.stdout.decode().splitlines()
    assert outcome == "no digit"
    assert int(grown) < 1.3 * 4000 * 4000 * {"F": 4, "RGBA": 4, "I;16": 2}[mode] / 2**10 + 40_000, "kB"


@pytest.mark.parametrize("size", [(3001, 1777), (1025, 2050), (65_535, 3)])
def test_shrinking_in_bands_gives_the_same_pixels_as_at_once(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
    at_once = image.reduce(max(1, max(size) // 1024))
    at_once.thumbnail((512, 512), reducing_gap=2.0)
    np.testing.assert_array_equal(np.round(255 * decode_picture(packed(image, "BMP"))), np.asarray(at_once))
