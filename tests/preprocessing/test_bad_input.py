from __future__ import annotations

import http.client
import json
import math
import signal
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from benchmarks import bad_input
from mnist_utils.preprocessing.decode import FORMATS, ImageError, _shrink
from mnist_utils.preprocessing.reader import preprocess
from mnist_utils.serving.server import _listen
from tests.asking import BLACK_ON_WHITE, start
from tests.bad_pictures import chunks, mutated, run_lengths, seeds
from tests.pictures import packed
from tests.preprocessing.test_reader import seven
from tests.serving.test_app import HUGE, JPEG

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"),
    "WEBP": ("L", "RGB", "RGBA", "P"),
}
NUMBERS: dict[str, NDArray[Any]] = {
    "F": np.array([0, 1, -1e38, 1e38, 3.4e38], np.float32),
    "I": np.array([0, 255, -(2**31), 2**31 - 1], np.int32),
    "I;16": np.array([0, 1, 255, 65535], np.uint16),
}
SIDES = st.one_of(st.integers(1, 40), st.sampled_from([1, 27, 28, 29, 511, 513, 1025, 3000]))


def drawn(mode: str, size: tuple[int, int], kind: str, random: np.random.Generator) -> Image.Image:
    """Return a picture of one colour, of noise, with one line, or of numbers that are none."""
    width, height = size
    if mode in NUMBERS:
        numbers = (
            np.array([math.nan, math.inf, -math.inf, 0.5], np.float32) if "none" in kind and mode == "F" else NUMBERS[mode]
        )
        return Image.fromarray(random.choice(numbers, (height, width)))
    if kind == "noise":
        noise = Image.fromarray(random.integers(0, 256, (height, width, 4), np.uint8))
        return noise.convert(mode) if mode in ("RGBA", "LA") else noise.convert("RGB").convert(mode)
    picture = Image.new("RGBA", size, tuple(random.integers(0, 256, 4).tolist()))
    if kind == "line":
        picture.paste((0, 0, 0, 255), (width // 3, height // 4, width // 3 + max(1, width // 9), height - height // 4))
    return picture.convert(mode)


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """Build pictures of any format, mode, size, transparency, EXIF and number of frames that Pillow can write."""
    form = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(MODES[form]))
    width = draw(SIDES)
    size = width, draw(SIDES.filter(lambda height: width * height <= 200_000))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["one colour", "noise", "line", "numbers that are none"]))
    options: dict[str, Any] = {}
    if form in ("GIF", "PNG", "TIFF", "WEBP") and draw(st.booleans()):
        more = [drawn(mode, size, draw(st.sampled_from(["one colour", "noise"])), random)]
        more[0].info.clear()
        options |= {"save_all": True, "append_images": more}
    still = "save_all" not in options  # Pillow writes no animated PNG with one transparent colour
    if (form == "GIF" or (form == "PNG" and still)) and mode in ("1", "L", "P") and draw(st.booleans()):
        options["transparency"] = draw(st.integers(0, 255))
    if form == "PNG" and still and mode == "P" and draw(st.booleans()):
        options["transparency"] = draw(st.binary(min_size=1, max_size=256))
    if form in ("PNG", "JPEG", "WEBP", "TIFF") and draw(st.booleans()):
        exif = Image.Exif()
        exif[0x0112] = draw(st.integers(0, 65535))
        options["exif"] = exif.tobytes()
    if form in ("PNG", "JPEG", "WEBP", "TIFF") and draw(st.booleans()):
        options["icc_profile"] = draw(st.binary(min_size=1, max_size=200))
    if form == "BMP" and mode == "L" and draw(st.booleans()):
        return run_lengths(drawn(mode, size, kind, random))
    picture = drawn(mode, size, kind, random)
    picture.info.clear()  # what it was converted from had its own transparency
    return packed(picture, form, **options)


SEEDS = st.sampled_from(list(seeds(np.random.default_rng(1)).values()))


@st.composite
def broken_pictures(draw: st.DrawFn) -> bytes:
    """Build a picture, then flip, cut, insert, splice, double chunks, give wrong lengths."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return mutated(draw(st.one_of(pictures(), SEEDS)), draw(SEEDS), random)


@given(content=st.one_of(pictures(), broken_pictures(), broken_pictures()))
@settings(
    max_examples=600,
    derandomize=True,
    database=None,
    deadline=20_000,  # milliseconds; one takes 10 to 100
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_bytes_are_a_digit_or_an_error_in_words(content: bytes) -> None:
    try:
        reading = preprocess(content)
    except ImageError as error:
        assert str(error).startswith(error.kind)  # noqa: PT017 - either is right
    else:
        assert reading.image.shape == (28, 28)
        assert reading.image.dtype == np.uint8
        assert reading.image.max() > 0
        assert 0 <= min(reading.crop) <= max(reading.crop) <= 1


def test_whole_pictures_of_every_format_and_mode_are_read() -> None:
    for name, content in seeds(np.random.default_rng(2)).items():
        expected = "read" if name.split()[0] in (*FORMATS, "MPO") else "not a picture"
        assert bad_input.outcome_of(content) == (expected, ""), name


def test_what_the_benchmark_does_with_a_hundred_thousand() -> None:
    whole = list(seeds(np.random.default_rng(0)).items())
    reader, server = bad_input.through_reader(whole, 150, 0, workers=1), bad_input.through_server(whole, 150, 0)
    assert reader.faults + server.faults + bad_input.disagreements(reader, server) == []
    assert len(reader.seen) == len(server.seen) == 150
    answered = sum(seen.outcome == "read" for seen in reader.seen)
    assert answered > 10
    assert f"| read | 200 | {answered} | {answered} |" in bad_input.table(reader, server, 0)


def test_the_benchmark_sees_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.bad_input.preprocess", lambda _: 1 / 0)
    outcome, fault = bad_input.outcome_of(BLACK_ON_WHITE)
    assert outcome == "fault"
    assert "ZeroDivisionError" in fault
    seen = [bad_input.Seen(7, "PNG L", outcome, 0.1, 0) for outcome in ("read", "500")]
    (found,) = bad_input.disagreements(bad_input.Record(seen[:1]), bad_input.Record(seen[1:]))
    assert found == "picture 7 (PNG L): the reader says 200, the server 500"


# --- what they found ---


def test_a_damaged_tag_is_no_warning() -> None:
    whole = packed(seven(), "TIFF")
    tags = int.from_bytes(whole[4:8], "little")
    outcomes = []
    for tag in range(int.from_bytes(whole[tags : tags + 2], "little")):
        length = tags + 2 + 12 * tag + 4
        outcomes.append(bad_input.outcome_of(whole[:length] + b"\xff\xff\xff\x7f" + whole[length + 4 :]))
    assert {fault for _, fault in outcomes} == {""}
    assert {outcome for outcome, _ in outcomes} == {"read", "not a picture"}


def test_a_palette_that_is_missing_is_an_error_in_words() -> None:
    without = b"".join(chunk for chunk in chunks(packed(seven().convert("P"))) if chunk[4:8] != b"PLTE")
    with pytest.raises(ImageError, match="cannot be decoded: its palette is missing"):
        preprocess(without)


def test_a_very_long_side_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="too large: a side of more than 65,535 pixels"):
        preprocess(packed(Image.new("1", (10, 70_000))))


@pytest.mark.parametrize("mode", ["F", "RGBA", "I;16"])
def test_a_large_picture_takes_little_more_memory_than_its_own_pixels(mode: str) -> None:
    large = (
        Image.new("RGBA", (4000, 4000))
        if mode == "RGBA"
        else Image.fromarray(np.zeros((4000, 4000), np.float32 if mode == "F" else np.uint16))
    )
    content = packed(large, "TIFF", compression="tiff_adobe_deflate")
    program = (
        "import sys\nfrom mnist_utils.preprocessing.reader import preprocess\nfrom benchmarks.bad_input import megabytes\n"
        "content = sys.stdin.buffer.read()\nbefore = megabytes('VmHWM')\n"
        "try: preprocess(content)\nexcept Exception as error: print(error)\n"
        "print(megabytes('VmHWM') - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
    *error, grown = done.stdout.decode().splitlines()
    assert error == ["no digit: it is all of one colour, to 0% of the way from black to white"]
    assert float(grown) < 1.3 * 4000 * 4000 * {"F": 4, "RGBA": 4, "I;16": 2}[mode] / 2**20 + 40


def test_large_pictures_are_shrunk_in_bands_as_they_would_be_whole() -> None:
    random = np.random.default_rng(0)
    for size in (3001, 1777), (1025, 2050), (65_535, 3):
        image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), np.uint8))
        whole = image.reduce(max(1, max(size) // 1024))
        np.testing.assert_array_equal(np.asarray(_shrink(image)), np.asarray(whole))


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- a real server ---


def test_bad_requests_to_a_real_server_one_after_the_other() -> None:
    def form(content: bytes, name: str, field: str = "image") -> tuple[str, str, bytes, dict[str, str]]:
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--x--\r\n"
        return "POST", "/predict", body, {"Content-Type": "multipart/form-data; boundary=x"}

    more = [seven().convert("L"), Image.new("L", (200, 160), 255)]
    fax = bytearray(packed(seven().convert("1"), "TIFF", compression="group3"))
    fax[200:300] = bytes(range(100))  # LibTIFF has much to say of it
    requests: list[tuple[int, tuple[str, str, bytes, dict[str, str]]]] = [
        (400, ("POST", "/predict", b"", {})),
        (415, form(b"hello, I am a text", "text.png")),
        (400, form(JPEG[: len(JPEG) // 2], "half.jpg")),
        (413, form(HUGE, "bomb.png")),
        (200, form(packed(more[0], "GIF", save_all=True, append_images=more[1:]), "animated.gif")),
        (415, form(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing.svg")),
        (422, form(packed(Image.new("L", (100, 100), 255)), "white.png")),
        (400, form(BLACK_ON_WHITE, "seven.png", field="picture")),
        (400, ("POST", "/predict", b"--x\r\nno header", {"Content-Type": "multipart/form-data; boundary=x"})),
        (405, ("GET", "/predict", b"", {})),
    ]
    process, port = start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            assert response.headers["Content-Type"] == "application/json"
            return response.status, json.loads(response.read())

        for status, request in requests:
            given_, answer = ask(*request)
            assert (given_, answer["Success"]) == (status, status == 200), answer
            assert answer["Predictions"][0]["Label"] == 7 if status == 200 else answer["Error"]
            assert ask(*form(BLACK_ON_WHITE, "seven.png"))[0] == 200
        ask(*form(bytes(fax), "fax.tiff"))
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert len([json.loads(line) for line in err.splitlines()]) == 2 * len(requests) + 1  # nothing but the log
