from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_utils.data.idx import DataError
from mnist_utils.data.own import read_own
from mnist_utils.data.own_tables import read_pixel_rows
from tests.data.test_own import X, Y, write_csv, write_idx


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz"])
def test_a_csv_of_labels_and_pixels(tmp_path: Path, name: str, header: bool) -> None:
    found = read_own(write_csv(tmp_path / name, X, Y + 5, header=header))
    assert found.classes == ("5", "6", "7")  # labels need not begin at 0
    both = np.concatenate([found.x, found.x_test])
    assert {image.tobytes() for image in both} == {image.tobytes() for image in X}
    pairs = {(image.tobytes(), int(label)) for image, label in zip(X, Y, strict=True)}
    assert {(image.tobytes(), int(label)) for image, label in zip(found.x, found.y, strict=True)} <= pairs


def test_npz_with_its_parts_and_with_fractions(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", x_train=X[:20] / 255, y_train=Y[:20], x_test=X[20:, ..., None], y_test=Y[20:])
    found = read_own(tmp_path / "both.npz")
    np.testing.assert_array_equal(found.x, X[:20])
    np.testing.assert_array_equal(found.x_test, X[20:])
    np.testing.assert_array_equal(found.y_test, Y[20:])


def test_images_of_another_size_are_resized(tmp_path: Path) -> None:
    large = np.kron(X, np.ones((2, 2), np.uint8))
    np.savez(tmp_path / "large.npz", x_train=large, y_train=Y)
    found = read_own(tmp_path / "large.npz")
    assert {image.tobytes() for image in found.x} <= {image.tobytes() for image in X}


def test_colour_becomes_grey_as_it_does_in_pictures(tmp_path: Path) -> None:
    colours = np.zeros((30, 28, 28, 3), np.uint8)
    colours[..., 0], colours[..., 1], colours[..., 2] = X, X // 2, X // 3
    np.savez(tmp_path / "rgb.npz", x_train=colours[:20], y_train=Y[:20], x_test=colours[20:], y_test=Y[20:])
    grey = (colours[20:] @ np.array([0.299, 0.587, 0.114])).round()
    np.testing.assert_allclose(read_own(tmp_path / "rgb.npz").x_test, grey, atol=1)
    large = np.kron(np.repeat(X[..., None], 3, axis=3), np.ones((1, 2, 2, 1), np.uint8))
    np.savez(tmp_path / "large.npz", x_train=large / 255, y_train=Y, x_test=large[:5], y_test=Y[:5])
    np.testing.assert_array_equal(read_own(tmp_path / "large.npz").x, X)


@pytest.mark.parametrize("name", ["label", "Class", "target"])
@pytest.mark.parametrize("at", [0, 300, 784])
def test_the_label_is_the_column_that_the_header_calls_so(tmp_path: Path, name: str, at: int) -> None:
    cells = [[*map(str, image.ravel()), ""][:784] for image in X]
    lines = [[*(f"pixel{i}" for i in range(784))], *cells]
    for row, label in zip(lines, [name, *"abc" * 10], strict=True):
        row.insert(at, label)
    (tmp_path / "x.csv").write_text("\ufeff" + "\r\n".join(",".join(row) for row in lines), encoding="utf-8")
    images, labels = read_pixel_rows(tmp_path / "x.csv", labelled=True)
    np.testing.assert_array_equal(images, X)
    assert labels == list("abc" * 10)


def test_labels_that_a_spreadsheet_made_into_fractions_are_whole(tmp_path: Path) -> None:
    assert read_own(write_csv(tmp_path / "x.csv", X, Y.astype(float))).classes == ("0", "1", "2")
    np.savez(tmp_path / "x.npz", x_train=X, y_train=Y + 1.0)
    assert read_own(tmp_path / "x.npz").classes == ("1", "2", "3")


def test_pixels_without_labels(tmp_path: Path) -> None:
    images, labels = read_pixel_rows(write_csv(tmp_path / "test.csv", X, None), labelled=False)
    np.testing.assert_array_equal(images, X)
    assert labels == []


# --- errors: each names the file, and the row ---


def rows_csv(tmp_path: Path, change: Any) -> Path:
    lines = write_csv(tmp_path / "x.csv", X, Y).read_text().splitlines()
    (tmp_path / "x.csv").write_text("\n".join(change(lines)) + "\n")
    return tmp_path / "x.csv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(",", ",999,", 1).rsplit(",", 1)[0], *lines[4:]], "row 4: a pixel"),
        (lambda lines: [*lines[:5], lines[5].replace(",", ",x,", 1).rsplit(",", 1)[0], *lines[6:]], "row 6: a pixel"),
        (lambda lines: [*lines[:5], "", lines[5].replace(",", ",,", 1).rsplit(",", 1)[0], *lines[6:]], "row 7: a pixel"),
        (lambda lines: [*lines[:2], "," + lines[2].split(",", 1)[1], *lines[3:]], "row 3: no label"),
        (lambda lines: [*lines[:9], lines[9].rsplit(",", 5)[0]], "row 10: 780 columns; the first row has 785"),
        (lambda lines: [lines[0], lines[1] + ",7", *lines[2:]], "row 2: 786 columns; the first row has 785"),
        (lambda lines: [line.rsplit(",", 1)[0] for line in lines], "784 columns and so no labels"),
        (lambda lines: [line.rsplit(",", 3)[0] for line in lines], "782 columns; wanted a label and 784 pixels"),
        (lambda lines: [line.replace(",", ";") for line in lines], "1 columns; wanted .* with commas between"),
        (lambda lines: [lines[0], *("7" + line[1:] for line in lines[1:])], r"1 class; .*; is the label the first column"),
        (lambda lines: [lines[0].replace("label", "px0"), *lines[1:]], "first the column 'px0' and none called label"),
        (
            lambda lines: [lines[0].replace("pixel0", "class", 1), *lines[1:]],
            "2 columns of labels; wanted one column",
        ),
        (lambda lines: [lines[0]], "has a header and no rows"),
        (lambda _: [""], "is empty"),
    ],
)
def test_a_csv_with_something_wrong(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"^dataset: .*x\.csv.*{message}") as error:
        read_own(rows_csv(tmp_path, change))
    assert "\n" not in str(error.value)


def test_a_csv_that_is_cut_off_or_no_text(tmp_path: Path) -> None:
    packed = gzip.compress(write_csv(tmp_path / "x.csv", X, Y).read_bytes())
    for name, content in ("cut.csv.gz", packed[:-500]), ("photo.csv", b"\xff\xd8\xff\xe0"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            read_own(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((9, 3, 28, 28)), "y_train": Y[:9]}, r"x_train has shape \(9, 3, 28, 28\); wanted \(n, he"),
        ({"x_train": np.zeros((9, 28, 28, 4)), "y_train": Y[:9]}, r"x_train has shape \(9, 28, 28, 4\); wanted"),
        ({"x_train": np.zeros((9, 784)), "y_train": Y[:9]}, r"x_train has shape \(9, 784\); wanted"),
        ({"x_train": X[:0], "y_train": Y[:0]}, r"x_train has shape \(0, 28, 28\); wanted .* n > 0"),
        ({"x_train": X - 1.0, "y_train": Y}, "x_train holds other values than numbers from 0 to 255"),
        ({"x_train": X, "y_train": Y, "x_test": X[:3], "y_test": Y[:2]}, "3 images and 2 labels in its test part"),
        ({"images": X, "labels": Y}, "holds images, labels; wanted x_train, y_train"),
    ],
)
def test_an_npz_with_something_wrong(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=rf"x\.npz.*{message}"):
        read_own(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (X, Y[:29], "has 30 images and train-labels-idx1-ubyte 29 labels"),
        (X, None, "lacks train-labels-idx1-ubyte, the labels of train-images-idx3-ubyte"),
        (Y, Y, "train-images-idx3-ubyte is no IDX file of images"),
        (X, X, "train-labels-idx1-ubyte is no IDX file of labels"),
    ],
)
def test_idx_files_with_something_wrong(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    for name, array in ("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels):
        if array is not None:
            write_idx(tmp_path / name, array.astype(np.uint8))
    with pytest.raises(DataError, match=message):
        read_own(tmp_path)


def test_an_idx_header_that_lies(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-labels-idx1-ubyte", Y.astype(np.uint8))
    write_idx(file := tmp_path / "train-images-idx3-ubyte", X)
    content = file.read_bytes()
    for wrong in content[:-1], content + b"x":
        file.write_bytes(wrong)
        message = f"has {len(wrong) - 16:,} bytes after its header, which says 30 x 28 x 28"
        with pytest.raises(DataError, match=message):
            read_own(tmp_path)
    file.write_bytes(content[:9])
    with pytest.raises(DataError, match="is no IDX file of images"):
        read_own(tmp_path)
