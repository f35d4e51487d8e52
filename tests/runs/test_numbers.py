from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.metrics import edit_distance
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.runs.inference import Predict, load_model
from mnist_utils.runs.numbers import PictureDigits, predict_digits, predict_one_or_many
from tests import drawings
from tests.paths import MODEL
from tests.rows import row_of


@pytest.fixture(scope="module")
def predict() -> Predict:
    return load_model(MODEL)


def written(rows: list[str], *, size: tuple[int, int] = (640, 420), pen: float = 8) -> bytes:
    sheet = drawings.Sheet(size, (245, 244, 238))
    for row, text in enumerate(rows):
        for column, label in enumerate(text):
            sheet.digit(int(label), (50 + 80 * column, 40 + 120 * row, 44, 80), pen, (30, 30, 50))
    return sheet.packed()


def turned(picture: bytes, quarters: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.rot90(np.asarray(Image.open(io.BytesIO(picture))), quarters)).save(file, "PNG")
    return file.getvalue()


def test_rows_are_read_from_top_to_bottom_and_from_left_to_right(predict: Predict) -> None:
    assert predict_digits(written(["20263", "94", "580"]), predict).number == "20263\n94\n580"


def test_each_digit_has_its_box(predict: Predict) -> None:
    found = predict_digits(written(["203"]), predict)
    for column, digit in enumerate(found.digits):
        left = 50 + 80 * column
        wanted = (left - 4) / 640, 36 / 420, (left + 48) / 640, 124 / 420
        assert digit.box == pytest.approx(wanted, abs=0.006)
        assert digit.image.shape == (28, 28)


@pytest.mark.parametrize("quarters", [1, 3])
def test_a_page_that_lies_on_its_side_is_read_and_its_boxes_lie_where_the_digits_are(
    quarters: int, predict: Predict
) -> None:
    picture = written(["20437", "52345"])
    upright, found = predict_digits(picture, predict), predict_digits(turned(picture, quarters), predict)
    assert found.number == upright.number == "20437\n52345"
    assert found.turned == (4 - quarters) % 4
    left, top, right, bottom = upright.digits[0].box
    for _ in range(quarters):  # counterclockwise
        left, top, right, bottom = top, 1 - right, bottom, 1 - left
    assert found.digits[0].box == pytest.approx((left, top, right, bottom), abs=0.02)


def test_a_picture_of_several_is_never_squeezed_into_one(predict: Predict) -> None:
    found = predict_one_or_many(written(["2026"]), predict)
    assert isinstance(found, PictureDigits)
    assert found.number == "2026"
    found = predict_one_or_many(written(["1234567", "8902345"]), predict)  # more pieces than one digit has
    assert isinstance(found, PictureDigits)
    assert found.number == "1234567\n8902345"


@pytest.mark.parametrize("kind", ["desk_edge", "lined_paper", "segments_with_gaps", "hairlines"])
def test_one_digit_stays_one(kind: str, predict: Predict) -> None:
    random = np.random.default_rng(1)
    for label in range(10):
        assert not isinstance(predict_one_or_many(drawings.KINDS[kind](label, random), predict), PictureDigits), label


def test_a_loose_bar_and_an_open_four_stay_one_digit(predict: Predict) -> None:
    five = drawings.Sheet((300, 300), drawings.WHITE)
    five.line([(150, 62), (215, 55)], 10, drawings.BLACK)
    for line in drawings.DIGITS[5]:
        five.line([(100 + 90 * x, 70 + 170 * y) for x, y in line[1:]], 10, drawings.BLACK)
    four = drawings.Sheet((300, 300), drawings.WHITE)
    four.line([(110, 60), (95, 160), (170, 160)], 10, drawings.BLACK)
    four.line([(190, 90), (185, 240)], 10, drawings.BLACK)
    for sheet in five, four:
        assert not isinstance(predict_one_or_many(sheet.packed(), predict), PictureDigits)


def test_the_model_is_asked_once_for_an_upright_page(predict: Predict) -> None:
    calls = []

    def counting(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return predict(images)

    predict_digits(written(["20263", "94"]), counting)
    assert len(calls) == 1


def empty() -> bytes:
    return drawings.Sheet((300, 200), drawings.WHITE).packed()


def text() -> bytes:
    sheet = drawings.Sheet((1200, 1200), drawings.WHITE)
    for x in range(20, 1180, 30):
        for y in range(20, 1180, 40):
            sheet.line([(x, y), (x + 10, y + 20)], 4, drawings.BLACK)
    return sheet.packed()


@pytest.mark.parametrize("make", [empty, text])
def test_a_picture_without_a_number_is_an_error(make: Callable[[], bytes], predict: Predict) -> None:
    with pytest.raises(ImageError) as caught:
        predict_digits(make(), predict)
    assert caught.value.kind == "no digit"


@pytest.mark.mnist
def test_97_of_100_of_mnists_digits_in_rows_are_read(predict: Predict, real_mnist: Path) -> None:
    dataset, random = load_dataset("mnist", data_dir=real_mnist), np.random.default_rng(0)
    digits = wrong = 0
    for number in range(150):
        chosen = random.integers(0, len(dataset.x_validation), random.integers(2, 11))
        picture = row_of(dataset.x_validation[chosen], random, ruled=number % 3 == 1, shadow=number % 3 == 2)
        wanted = "".join(map(str, dataset.y_validation[chosen]))
        digits += len(wanted)
        wrong += edit_distance(wanted, predict_digits(picture, predict).number)
    assert wrong <= 0.03 * digits, (wrong, digits)
