from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_utils import ConfigError
from mnist_utils._support.own_function import read_function
from mnist_utils.data.own_change import change_images

FILE = """import numpy as np
import beside

def darken(images, random):
    images -= np.minimum(images, beside.BY)
    return images

def noise(images, random):
    return random.integers(0, 256, images.shape, np.uint8)

def as_float(images, random):
    return images / 255

def fewer(images, random):
    return images[1:]

def nothing(images, random):
    pass

def broken(images, random):
    return images + random.nosuch()
"""
IMAGES = np.arange(3 * 784, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)


def change(name: str, folder: Path, seed: int = 0) -> Any:
    (folder / "mine.py").write_text(FILE)
    (folder / "beside.py").write_text("BY = np = 10\n")
    own = read_function(f"{folder}/mine.py:{name}", option="augment", default="augment")
    return change_images(IMAGES, own, np.random.default_rng(seed), option="augment")


def test_the_function_changes_a_copy(tmp_path: Path) -> None:
    before = IMAGES.copy()
    np.testing.assert_array_equal(change("darken", tmp_path), np.maximum(IMAGES.astype(int) - 10, 0))
    np.testing.assert_array_equal(IMAGES, before)


def test_the_generator_makes_it_reproducible(tmp_path: Path) -> None:
    expected = np.random.default_rng(4).integers(0, 256, IMAGES.shape, np.uint8)
    np.testing.assert_array_equal(change("noise", tmp_path, 4), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("as_float", r"mine.py:as_float returned float64 of shape \(3, 28, 28\); allowed: uint8 of shape \(3, 28, 28\)"),
        ("fewer", r"returned uint8 of shape \(2, 28, 28\); allowed"),
        ("nothing", "returned NoneType; allowed"),
        ("broken", "mine.py, line 21: AttributeError: .*nosuch"),
        ("nosuch", "has no function nosuch; it has darken, noise, as_float, fewer, nothing, broken"),
    ],
)
def test_what_breaks_the_contract_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^augment: .*{message}") as error:
        change(name, tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_modules_beside_two_files_are_not_mixed_up(tmp_path: Path) -> None:
    found = []
    for by in 3, 5:
        folder = tmp_path / str(by)
        folder.mkdir()
        (folder / "beside.py").write_text(f"BY = {by}\n")
        (folder / "mine.py").write_text("from beside import BY\n\ndef add(images, random):\n    return images + BY\n")
        own = read_function(f"{folder}/mine.py:add", option="augment", default="augment")
        found.append(change_images(np.zeros((1, 28, 28), np.uint8), own, np.random.default_rng(0), option="augment").max())
    assert found == [3, 5]
