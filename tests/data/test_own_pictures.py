from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mnist_utils.data.datasets import load_dataset
from mnist_utils.data.idx import DataError
from mnist_utils.data.own import read_own, read_parts
from mnist_utils.data.own_pictures import decode_image
from mnist_utils.preprocessing.reader import preprocess
from tests.data.test_own import X, shape_picture, write_shapes
from tests.pictures import packed


def write_raw(folder: Path) -> Path:
    """Write 28x28 pictures, ten of each of three classes."""
    for at, image in enumerate(X):
        (folder / "abc"[at % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "abc"[at % 3] / f"{at:02}.png")
    return folder


def write_parquet(path: Path, monkeypatch: pytest.MonkeyPatch, **columns: Any) -> Path:
    """Write a file that pandas reads as this table: pyarrow is not installed with the workbench."""
    path.touch()
    monkeypatch.setattr(pd, "read_parquet", lambda _: pd.DataFrame(columns))
    return path


# --- raw ---


def test_raw_pictures_are_the_images_that_they_hold(tmp_path: Path) -> None:
    found = read_parts(write_raw(tmp_path / "raw"), raw=True)
    x, y = found.parts["train"]
    assert found.classes == ("a", "b", "c")
    assert y.tolist() == sorted([0, 1, 2] * 10)
    np.testing.assert_array_equal(x, np.concatenate([X[0::3], X[1::3], X[2::3]]))
    assert "raw: resized, and taken for white on black" in found.note


def test_without_raw_the_reader_finds_the_ink(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", 2)
    read, raw = read_parts(folder), read_parts(folder, raw=True)
    first = folder / "circle" / "0.png"
    np.testing.assert_array_equal(read.parts["train"][0][0], preprocess(first).image)
    np.testing.assert_array_equal(raw.parts["train"][0][0], decode_image(first))
    assert read.parts["train"][0][0][0, 0] == 0
    assert raw.parts["train"][0][0][0, 0] == 255  # paper, not inverted
    assert raw.note.endswith("taken for white on black, but 6 of 6 are mostly light")
    assert read.note == ""


def test_a_raw_picture_is_grey_turned_upright_and_stretched() -> None:
    wide = Image.new("RGB", (100, 50))
    wide.paste((255, 0, 0), (0, 0, 50, 50))  # the left half is red, which is dark grey
    found = decode_image(packed(wide))
    assert found.shape == (28, 28)
    assert found.dtype == np.uint8
    assert (found[:, :13] == 76).all()  # 0.299 of 255
    assert (found[:, 15:] == 0).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    turned = decode_image(packed(wide, exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(found, -1))
    assert decode_image(packed(Image.new("L", (1, 1), 200))).tolist() == [[200] * 28] * 28


# --- unreadable pictures ---


def spoil(folder: Path) -> Path:
    (folder / "circle" / "0.png").write_bytes(b"no picture")
    (folder / "square" / "3.png").write_bytes(packed(Image.new("L", (50, 50), 255)))
    return folder


def test_an_unreadable_picture_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = spoil(write_shapes(tmp_path / "shapes", 6))
    message = f"dataset: {folder / 'circle' / '0.png'}: not a picture: none of PNG"
    with pytest.raises(DataError, match=re.escape(message) + r".*; --skip-unreadable leaves such pictures out$"):
        read_own(folder)


def test_unreadable_pictures_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = spoil(write_shapes(tmp_path / "shapes", 6))
    found = read_parts(folder, skip_unreadable=True)
    assert np.bincount(found.parts["train"][1]).tolist() == [5, 6, 5]
    assert found.note.startswith("2 of 18 pictures cannot be read and were left out, the first: circle/0.png (not a picture")
    assert str(tmp_path) not in found.note  # it is recorded with the run
    raw = read_parts(folder, skip_unreadable=True, raw=True)
    assert np.bincount(raw.parts["train"][1]).tolist() == [5, 6, 6]  # a blank sheet can be decoded
    assert "1 of 18 pictures" in raw.note
    dataset = load_dataset(str(folder), skip_unreadable=True, validation_fraction=0.3)
    assert (dataset.skip_unreadable, dataset.raw) == (True, False)
    assert dataset.note.count("; ") == 1
    assert "no test part" in dataset.note


def test_a_class_without_a_readable_picture_is_an_error(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", 2)
    for file in (folder / "cross").iterdir():
        file.write_bytes(b"")
    message = r"no picture of class cross in its train part can be read; the first, cross/0\.png: not a picture: the file is"
    with pytest.raises(DataError, match=message):
        read_own(folder, skip_unreadable=True)


def test_each_picture_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    read_parts(write_shapes(tmp_path / "shapes", 2), done=lambda at, n: told.append((at, n)))
    assert told == [(at, 6) for at in range(1, 7)]


# --- Parquet ---


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"bytes": one, "path": "x.png"}])
def test_parquet_holds_pictures_which_are_read_as_those_in_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: Any
) -> None:
    pictures = [shape_picture(kind, seed) for kind in ("circle", "cross") for seed in range(5)]
    path = write_parquet(
        tmp_path / "x.parquet", monkeypatch, image=[wrap(one) for one in pictures], label=[4] * 5 + [10] * 5
    )
    found = read_parts(path)
    assert found.classes == ("4", "10")
    np.testing.assert_array_equal(found.parts["train"][0][7], preprocess(pictures[7]).image)
    np.testing.assert_array_equal(read_parts(path, raw=True).parts["train"][0][7], decode_image(pictures[7]))


def test_parquet_with_something_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, path = shape_picture("circle", 0), tmp_path / "x.parquet"
    write_parquet(path, monkeypatch, image=[picture, None, {"bytes": None}], label=["a", "b", "a"])
    with pytest.raises(DataError, match=r"x\.parquet, row 1: not a picture: the file is empty; --skip-unreadable"):
        read_own(path)
    write_parquet(path, monkeypatch, image=[picture, b"?", picture], label=["a", "b", "b"])
    assert (
        "1 of 3 pictures cannot be read and were left out, the first: row 1 (" in read_parts(path, skip_unreadable=True).note
    )
    write_parquet(path, monkeypatch, image=[picture] * 2, label=["a", None])
    with pytest.raises(DataError, match=r"x\.parquet, row 1: no label"):
        read_own(path)
    write_parquet(path, monkeypatch, image=[picture], answer=["a"])
    with pytest.raises(DataError, match=r"has the columns image, answer; wanted image and label"):
        read_own(path)
    write_parquet(path, monkeypatch, image=[], label=[])
    with pytest.raises(DataError, match="has no rows"):
        read_own(path)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"needs pyarrow; install it: pip install pyarrow|is damaged"):
        read_own(path)


# --- folders ---


def test_folders_with_something_wrong(tmp_path: Path) -> None:
    shapes = write_shapes(tmp_path / "shapes", 1)
    (shapes / "empty").mkdir()
    (shapes / "empty" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"class empty has no picture in .*shapes/empty; read are \.png, \.jpg"):
        read_own(shapes)
    with pytest.raises(DataError, match=r"circle holds 1 pictures and no folders; put those of each class into a folder"):
        read_own(shapes / "circle")
    write_shapes(tmp_path / "parts" / "test", 1)
    write_shapes(tmp_path / "parts" / "train", 1)
    (tmp_path / "parts" / "train" / "cross").rename(tmp_path / "parts" / "train" / "plus")
    with pytest.raises(DataError, match="class cross is in test and not in train"):
        read_own(tmp_path / "parts")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_without_pictures_is_no_part_to_be_made(tmp_path: Path, part: str) -> None:
    write_shapes(tmp_path / ("train" if part == "test" else "test"), 6)
    (tmp_path / part).mkdir()
    with pytest.raises(DataError, match=f"{part} holds no folder of pictures for each class$"):
        read_own(tmp_path)


@pytest.mark.parametrize(("n", "words"), [(1, "1 class;"), (101, "101 classes;")])
def test_the_number_of_classes_is_told_before_the_time_that_reading_takes(tmp_path: Path, n: int, words: str) -> None:
    for label in range(n):
        (tmp_path / f"{label}").mkdir()
        (tmp_path / f"{label}" / "bad.png").touch()
    with pytest.raises(DataError, match=f"{words} allowed: 2 to 100"):
        read_own(tmp_path)
