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

from mnist_utils import ConfigError
from mnist_utils.data.datasets import load_dataset
from mnist_utils.data.drawn import find_fonts, print_character, random_map, warp_sheet
from mnist_utils.data.idx import DataError
from mnist_utils.data.own import is_path, read_own, read_parts, split_parts, suggest_dataset
from mnist_utils.data.own_tables import read_pixel_rows
from mnist_utils.preprocessing.center import center_digit
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


def write_emnist(folder: Path, n: int) -> Path:
    """Write `n` training and `n` // 3 test images of each of EMNIST's 47 balanced classes, printed, in its form."""
    folder.mkdir()
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    fonts, random = find_fonts("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono-Oblique.ttf"), np.random.default_rng(0)
    for part, of_each in ("train", n), ("test", n // 3):
        labels = np.repeat(np.arange(47), of_each).astype(np.uint8)
        printed = (print_character(letters[label], fonts[random.integers(len(fonts))], 34) for label in labels)
        images = np.stack([center_digit(warp_sheet(sheet, random_map(random)) / 255) for sheet in printed])
        write_idx(folder / f"emnist-balanced-{part}-images-idx3-ubyte.gz", images.swapaxes(1, 2))
        write_idx(folder / f"emnist-balanced-{part}-labels-idx1-ubyte.gz", labels)
    mapping = "".join(f"{label} {ord(letter)}\n" for label, letter in enumerate(letters))
    (folder / "emnist-balanced-mapping.txt").write_text(mapping)
    return folder


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


def test_classes_sort_as_numbers_and_text_may_name_them(tmp_path: Path) -> None:
    assert read_own(write_csv(tmp_path / "a.csv", X, np.where(Y == 0, 10, Y))).classes == ("1", "2", "10")
    assert read_own(write_csv(tmp_path / "b.csv", X, np.array(["b", "a", "c"])[Y])).classes == ("a", "b", "c")
    (tmp_path / "classes.txt").write_text("circle\ncross\nsquare\n")
    assert read_own(write_csv(tmp_path / "c.csv", X, Y)).classes == ("circle", "cross", "square")


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


@pytest.mark.parametrize("labels", ["5", "26"])
def test_labels_that_do_not_begin_at_0_take_their_own_lines_of_names(tmp_path: Path, labels: str) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(f"name {label}" for label in range(26)) + "\n")
    path = write_csv(tmp_path / "x.csv", X, Y + int(labels) - 2)
    if labels == "5":
        assert read_own(path).classes == ("name 3", "name 4", "name 5")
        return
    with pytest.raises(DataError, match=r"classes\.txt has no name for label 26 of .*x\.csv"):
        read_own(path)


def test_parts_are_told_before_a_test_part_is_made(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x_train=X[:3], y_train=["a", "b", "a"])
    found = read_parts(tmp_path / "few.npz")
    assert (list(found.parts), found.classes, found.note) == (["train"], ("a", "b"), "")
    assert found.parts["train"][1].tolist() == [0, 1, 0]
    with pytest.raises(DataError, match=r"few\.npz: class b has 1 image; at least 5 are needed for a test part"):
        split_parts(tmp_path / "few.npz", found)
    np.savez(tmp_path / "one.npz", x_train=X[:3], y_train=[7, 7, 7])
    assert read_parts(tmp_path / "one.npz", least=1).classes == ("7",)


@pytest.mark.parametrize(
    ("make", "suggested"),
    [
        (lambda folder: write_shapes(folder, 1), "{}"),
        (lambda folder: write_shapes(folder / "train", 1), "{}"),
        (lambda folder: [write_csv(folder / name, X, Y) for name in ("a.csv", "train.csv")], "{}/train.csv"),
        (lambda folder: write_idx(folder / "emnist-x-train-images-idx3-ubyte.gz", X), "{}"),
        (lambda folder: (folder / "notes.txt").touch(), ""),
        (lambda folder: (folder / "mnist.npz").touch(), ""),
    ],
)
def test_what_looks_like_ones_own_data(tmp_path: Path, make: Any, suggested: str) -> None:
    make(tmp_path)
    assert suggest_dataset(tmp_path) == suggested.format(tmp_path)


def test_a_suggestion_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path / "my shapes", 1)
    monkeypatch.chdir(tmp_path)
    assert suggest_dataset(Path("my shapes")) == "'./my shapes'"
    assert suggest_dataset(Path("nosuch")) == ""


# --- errors: each names the file, and the row or what is allowed ---


def test_data_with_something_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        read_own(tmp_path / "nosuch")
    with pytest.raises(DataError, match="holds no data; allowed: a folder"):
        read_own(tmp_path)
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(DataError, match="is none of"):
        read_own(tmp_path / "text.txt")
    np.savez(tmp_path / "one.npz", x_train=X, y_train=np.zeros(30, int))
    with pytest.raises(DataError, match=r"one\.npz has 1 class; allowed: 2 to 100$"):
        read_own(tmp_path / "one.npz")
    np.savez(tmp_path / "many.npz", x_train=np.zeros((101, 28, 28)), y_train=np.arange(101))
    with pytest.raises(DataError, match=r"many\.npz has 101 classes; allowed: 2 to 100"):
        read_own(tmp_path / "many.npz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.txt", b"a\na\nb\n", r"two classes of the name 'a', by .*classes\.txt"),
        ("classes.txt", b"a\n\nb\n", r"classes\.txt has no name for label 1 of"),
        ("classes.txt", b"\xff\xfe", r"classes\.txt is not UTF-8"),
        ("x-mapping.txt", b"0 65\n1 66\n2 65\n", r"two classes of the name 'A', by .*x-mapping\.txt"),
        ("x-mapping.txt", b"0 65\n1 B\n2 67\n", r"x-mapping\.txt, row 2: '1 B'; wanted a label and the code of a char"),
        ("x-mapping.txt", b"0\n", r"x-mapping\.txt, row 1: '0'; wanted"),
        ("x-mapping.txt", b"0 65\n1 66\n", r"x-mapping\.txt has no name for label 2"),
    ],
)
def test_names_with_something_wrong(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    np.savez(tmp_path / "data.npz", x_train=X, y_train=Y)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_own(tmp_path / "data.npz")


@pytest.mark.parametrize("option", ["raw", "skip_unreadable"])
@pytest.mark.parametrize("name", ["mnist", "auto", "digits", "x.csv", "idx/"])
def test_how_pictures_are_read_is_refused_for_what_has_none(tmp_path: Path, name: str, option: str) -> None:
    write_csv(tmp_path / "x.csv", X, Y)
    (tmp_path / "idx").mkdir()
    write_idx(tmp_path / "idx" / "train-images-idx3-ubyte", X)
    write_idx(tmp_path / "idx" / "train-labels-idx1-ubyte", Y.astype(np.uint8))
    given = str(tmp_path / name) if is_path(name) else name
    message = rf"^{option}: given with .*{name.strip('/')}, which holds no pictures; allowed: with your own pictures only$"
    with pytest.raises(ConfigError, match=message):
        load_dataset(given, **{option: True})  # type: ignore[arg-type]


def test_pixels_from_0_to_1_are_scaled_in_a_csv(tmp_path: Path) -> None:
    digits = load_dataset("digits")
    x, y = digits.x_train[:100], digits.y_train[:100]
    rows = np.c_[y, x.reshape(100, -1) / 255]
    np.savetxt(tmp_path / "unit.csv", rows, delimiter=",")  # which writes 5.000000000000000000e+00
    images, labels = read_pixel_rows(tmp_path / "unit.csv", labelled=True)
    np.testing.assert_array_equal(images, x)
    assert labels == [str(label) for label in y]
    np.savez(tmp_path / "binary.npz", x_train=(x > 127).astype(np.uint8), y_train=y)
    assert set(np.unique(read_own(tmp_path / "binary.npz").x)) == {0, 255}


def test_a_header_of_numbers_is_no_row(tmp_path: Path) -> None:
    digits = load_dataset("digits")
    table = pd.DataFrame(digits.x_train[:20].reshape(20, -1))
    table.insert(0, "label", digits.y_train[:20])
    table.to_csv(tmp_path / "pandas.csv", index=False)
    images, _ = read_pixel_rows(tmp_path / "pandas.csv", labelled=True)
    np.testing.assert_array_equal(images, digits.x_train[:20])


def test_folders_beside_train_and_test_are_said_to_be_unread(tmp_path: Path) -> None:
    for part in "train", "test", "val":
        write_shapes(tmp_path / "data" / part, 6)
    assert read_own(tmp_path / "data").note == "not read: val; validation images are taken from the training images"
