from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mnist_utils.data.datasets import load_dataset
from mnist_utils.data.idx import DataError
from mnist_utils.data.own import is_path, read_own, read_pixel_rows
from tests.pictures import packed

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (30, 28, 28), dtype=np.uint8)
Y = np.arange(30) % 3


def shape_picture(kind: str, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (120, 100), "white")
    draw, (x, y) = ImageDraw.Draw(picture), random.integers(40, 60, 2).tolist()
    if kind == "circle":
        draw.ellipse([x - 25, y - 25, x + 25, y + 25], outline="navy", width=7)
    elif kind == "square":
        draw.rectangle([x - 25, y - 25, x + 25, y + 25], outline="navy", width=7)
    else:
        draw.line([x - 25, y - 25, x + 25, y + 25], fill="navy", width=7)
        draw.line([x - 25, y + 25, x + 25, y - 25], fill="navy", width=7)
    return packed(picture)


def write_shapes(folder: Path, n: int = 8) -> Path:
    for kind in "circle", "cross", "square":
        (folder / kind).mkdir(parents=True)
        for seed in range(n):
            (folder / kind / f"{seed}.png").write_bytes(shape_picture(kind, seed))
    return folder


def write_csv(path: Path, x: NDArray[Any], y: NDArray[Any] | None, *, header: bool = True) -> Path:
    table = pd.DataFrame(x.reshape(len(x), -1), columns=[f"pixel{i}" for i in range(784)])
    if y is not None:
        table.insert(0, "label", y)
    table.to_csv(path, index=False, header=header)
    return path


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    content = struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_a_folder_of_pictures_per_class(tmp_path: Path) -> None:
    found = read_own(write_shapes(tmp_path / "shapes", 10))
    assert found.classes == ("circle", "cross", "square")
    assert (len(found.x), len(found.x_test)) == (24, 6)
    assert np.bincount(found.y_test).tolist() == [2, 2, 2]  # stratified
    assert "no test part: 6 of its images" in found.note
    assert found.x.max(axis=(1, 2)).min() > 200  # ink, white on black
    again = read_own(tmp_path / "shapes")
    np.testing.assert_array_equal(found.x_test, again.x_test)


def test_train_and_test_above_the_classes_are_kept_apart(tmp_path: Path) -> None:
    write_shapes(tmp_path / "train", 4)
    write_shapes(tmp_path / "test", 2)
    found = read_own(tmp_path)
    assert (len(found.x), len(found.x_test), found.note) == (12, 6, "")


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz"])
def test_a_csv_of_labels_and_pixels(tmp_path: Path, name: str, header: bool) -> None:
    found = read_own(write_csv(tmp_path / name, X, Y + 5, header=header))
    assert found.classes == ("5", "6", "7")  # labels need not begin at 0
    both = np.concatenate([found.x, found.x_test])
    assert {image.tobytes() for image in both} == {image.tobytes() for image in X}
    pairs = {(image.tobytes(), int(label)) for image, label in zip(X, Y, strict=True)}
    assert {(image.tobytes(), int(label)) for image, label in zip(found.x, found.y, strict=True)} <= pairs


def test_classes_sort_as_numbers_and_text_may_name_them(tmp_path: Path) -> None:
    assert read_own(write_csv(tmp_path / "a.csv", X, np.where(Y == 0, 10, Y))).classes == ("1", "2", "10")
    assert read_own(write_csv(tmp_path / "b.csv", X, np.array(["b", "a", "c"])[Y])).classes == ("a", "b", "c")
    (tmp_path / "classes.txt").write_text("circle\ncross\nsquare\n")
    assert read_own(write_csv(tmp_path / "c.csv", X, Y)).classes == ("circle", "cross", "square")


def test_npz_with_its_parts_and_with_fractions(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", x_train=X[:20] / 255, y_train=Y[:20], x_test=X[20:, ..., None], y_test=Y[20:])
    found = read_own(tmp_path / "both.npz")
    np.testing.assert_array_equal(found.x, X[:20])
    np.testing.assert_array_equal(found.x_test, X[20:])
    np.testing.assert_array_equal(found.y_test, Y[20:])


def test_emnists_files_are_turned_upright_and_named(tmp_path: Path) -> None:
    for part, some in ("train", slice(20)), ("test", slice(20, None)):
        write_idx(tmp_path / f"emnist-letters-{part}-images-idx3-ubyte.gz", np.ascontiguousarray(X[some].swapaxes(1, 2)))
        write_idx(tmp_path / f"emnist-letters-{part}-labels-idx1-ubyte.gz", (Y[some] + 1).astype(np.uint8))
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n3 67 99\n")
    found = read_own(tmp_path)
    assert found.classes == ("A", "B", "C")
    np.testing.assert_array_equal(found.x, X[:20])
    np.testing.assert_array_equal(found.y_test, Y[20:])


def test_torchvisions_folder_of_mnist(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, some in ("train", slice(20)), ("t10k", slice(20, None)):
        write_idx(raw / f"{part}-images-idx3-ubyte", X[some])
        write_idx(raw / f"{part}-labels-idx1-ubyte", Y[some].astype(np.uint8))
    np.testing.assert_array_equal(read_own(tmp_path).x_test, X[20:])


def test_images_of_another_size_are_resized(tmp_path: Path) -> None:
    large = np.kron(X, np.ones((2, 2), np.uint8))
    np.savez(tmp_path / "large.npz", x_train=large, y_train=Y)
    found = read_own(tmp_path / "large.npz")
    assert {image.tobytes() for image in found.x} <= {image.tobytes() for image in X}


def test_a_run_of_three_classes_is_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path / "shapes", 20)
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset("./shapes")
    assert (dataset.name, dataset.classes) == ("shapes", ("circle", "cross", "square"))
    assert load_dataset(str(tmp_path / "shapes")).sha256 == dataset.sha256


@pytest.mark.parametrize(
    ("name", "path"), [("mnist", False), ("./x", True), ("x.csv", True), ("a/b", True), ("digits", False)]
)
def test_what_is_a_path(name: str, path: bool) -> None:
    assert is_path(name) == path


# --- errors: each names the file, and the row or what is allowed ---


def rows_csv(tmp_path: Path, change: Any) -> Path:
    lines = write_csv(tmp_path / "x.csv", X, Y).read_text().splitlines()
    (tmp_path / "x.csv").write_text("\n".join(change(lines)) + "\n")
    return tmp_path / "x.csv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(",", ",999,", 1).rsplit(",", 1)[0], *lines[4:]], "row 4: a pixel"),
        (lambda lines: [*lines[:5], lines[5].replace(",", ",x,", 1).rsplit(",", 1)[0], *lines[6:]], "row 6: a pixel"),
        (lambda lines: [*lines[:2], "," + lines[2].split(",", 1)[1], *lines[3:]], "row 3: no label"),
        (lambda lines: [line.rsplit(",", 1)[0] for line in lines], "784 columns and so no labels"),
        (lambda lines: [line.rsplit(",", 3)[0] for line in lines], "782 columns; wanted a label and 784 pixels"),
        (lambda lines: [lines[0], *("7" + line[1:] for line in lines[1:])], "1 classes; allowed: 2 to 100"),
    ],
)
def test_a_csv_with_something_wrong(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_own(rows_csv(tmp_path, change))


def test_other_data_with_something_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        read_own(tmp_path / "nosuch")
    with pytest.raises(DataError, match="holds no data; allowed: a folder"):
        read_own(tmp_path)
    shapes = write_shapes(tmp_path / "shapes", 6)
    (shapes / "circle" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png: not a picture"):
        read_own(shapes)
    (shapes / "circle" / "bad.png").unlink()
    (shapes / "empty").mkdir()
    with pytest.raises(DataError, match="class empty has no picture"):
        read_own(shapes)
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(DataError, match="is none of"):
        read_own(tmp_path / "text.txt")
    np.savez(tmp_path / "rgb.npz", x_train=np.zeros((9, 28, 28, 3)), y_train=np.arange(9))
    with pytest.raises(DataError, match=r"shape \(9, 28, 28, 3\); wanted"):
        read_own(tmp_path / "rgb.npz")
    np.savez(tmp_path / "few.npz", x_train=X, y_train=np.minimum(np.arange(30), 1))
    with pytest.raises(DataError, match="class 0 has 1 images; at least 5"):
        read_own(tmp_path / "few.npz")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + bytes(12) + b"x")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="is no IDX file"):
        read_own(tmp_path)
    (tmp_path / "classes.txt").write_text("a\na\nb\n")
    np.savez(tmp_path / "twice.npz", x_train=X, y_train=Y)
    with pytest.raises(DataError, match="two classes of the name 'a'"):
        read_own(tmp_path / "twice.npz")


def test_pixels_without_labels(tmp_path: Path) -> None:
    images, labels = read_pixel_rows(write_csv(tmp_path / "test.csv", X, None), labelled=False)
    np.testing.assert_array_equal(images, X)
    assert labels == []
