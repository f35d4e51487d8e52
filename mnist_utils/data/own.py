"""Your own data: a folder of pictures per class, a CSV, an NPZ, a Parquet file, or IDX files, read by their form."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.idx import DataError
from mnist_utils.preprocessing.decode import SUFFIXES, ImageError
from mnist_utils.preprocessing.reader import preprocess

MOST_CLASSES = 100
FORMS = "a folder with a folder of pictures per class, .csv, .csv.gz (label, pixels), .npz, .parquet, a folder of IDX files"
_TEST_SHARE, _SPLIT_SEED = 0.2, 0  # of data that come without a test part
_PARTS = "train", "test"
_SIDE = 28


@dataclass(frozen=True)
class OwnData:
    """Labelled images in two parts.

    Attributes
    ----------
    x, x_test : uint8 array, shape (n, 28, 28), white on black
    y, y_test : uint8 array, shape (n,), values from 0 to below the number of classes
    classes : tuple of str
        The name of each label.
    note : str
        What was done that the data do not say; empty if nothing.
    """

    x: Images
    y: Labels
    x_test: Images
    y_test: Labels
    classes: tuple[str, ...]
    note: str


Labelled = tuple[Images, list[str]]


def is_path(name: str) -> bool:
    """Say whether the name of a data set is a path."""
    return "/" in name or "\\" in name or name.endswith((".csv", ".csv.gz", ".npz", ".parquet")) or name in (".", "..")


def read_own(path: Path) -> OwnData:
    """Read labelled images.

    Parameters
    ----------
    path : Path
        A folder with a folder of pictures per class, each picture read as `preprocess` does; with ``train`` and ``test``
        above them, or not. Or a CSV file, gzipped or not, with a label and 784 pixels a row, with a header or without. Or
        an NPZ file with ``x_train``, ``y_train`` and perhaps ``x_test``, ``y_test``. Or a Parquet file with ``label`` and
        ``image`` (encoded pictures). Or a folder of IDX files (``*images-idx3-ubyte``, ``*labels-idx1-ubyte``, gzipped or
        not); EMNIST's images are turned upright. A file ``classes.txt`` or EMNIST's ``*mapping.txt`` beside them names
        the classes. Images of other sizes are resized to 28x28.

    Raises
    ------
    DataError
        If there is no such path, or it holds something else: the message names the file and the row.
    """
    if not path.exists():
        raise DataError(f"dataset: there is no file or folder {path}")
    note = ""
    if path.is_dir():
        parts, named = _read_idx_folder(path) or _read_picture_folders(path)
    elif path.name.endswith((".csv", ".csv.gz")):
        parts, named = {"train": _read_csv(path)}, False
    elif path.suffix == ".npz":
        parts, named = _read_npz(path), False
    elif path.suffix == ".parquet":
        parts, named = {"train": _read_parquet(path)}, False
    else:
        raise DataError(f"dataset: {path} is none of: {FORMS}")
    names = _names(path, sorted({label for _, labels in parts.values() for label in labels}, key=_natural), named=named)
    x, y = _number(parts["train"], names)
    if "test" in parts:
        x_test, y_test = _number(parts["test"], names)
    else:
        x, y, x_test, y_test = _split_test(x, y, path, names)
        note = f"{path.name} has no test part: {len(x_test):,} of its images, stratified, are the test part"
    return OwnData(x, y, x_test, y_test, tuple(names.values()), note)


def _natural(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdigit() else (2**31, label)


def _names(path: Path, labels: list[str], *, named: bool) -> dict[str, str]:
    """Name each label that occurs, from a file beside the data if there is one."""
    folder = path if path.is_dir() else path.parent
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise DataError(f"dataset: {path} has {len(labels)} classes; allowed: 2 to {MOST_CLASSES}")
    known: dict[str, str] = {}
    if not named and (folder / "classes.txt").is_file():
        lines = (folder / "classes.txt").read_text(encoding="utf-8").split("\n")
        known = {str(label): line.strip() for label, line in enumerate(lines) if line.strip()}
    elif not named and (mapping := next(iter(sorted(folder.glob("*mapping.txt"))), None)):
        rows = [line.split() for line in mapping.read_text(encoding="ascii").splitlines() if line.strip()]
        known = {row[0]: chr(int(row[1])) for row in rows}
    names = {label: known.get(label, label) for label in labels}
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise DataError(f"dataset: {path} has two classes of the name {twice!r}")
    return names


def _number(part: Labelled, names: dict[str, str]) -> tuple[Images, Labels]:
    number = {label: at for at, label in enumerate(names)}
    return part[0], np.array([number[label] for label in part[1]], np.uint8)


def _split_test(x: Images, y: Labels, path: Path, names: dict[str, str]) -> tuple[Images, Labels, Images, Labels]:
    from sklearn.model_selection import train_test_split

    counts = np.bincount(y, minlength=len(names))
    if counts.min() < 5:
        few = list(names.values())[int(counts.argmin())]
        raise DataError(f"dataset: {path}: class {few} has {counts.min()} images; at least 5 are needed for a test part")
    x, x_test, y, y_test = train_test_split(x, y, test_size=_TEST_SHARE, stratify=y, random_state=_SPLIT_SEED)
    return x, y, x_test, y_test


def _as_images(array: NDArray[Any], where: str) -> Images:
    """Check images of any size and type; return them as 28x28 in whole grey levels."""
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.shape[0] == 0 or min(array.shape[1:]) < 2:
        raise DataError(f"dataset: {where} has shape {array.shape}; wanted (n, height, width), grey, n > 0")
    if array.dtype.kind not in "uif" or not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise DataError(f"dataset: {where} holds other values than numbers from 0 to 255")
    if array.dtype.kind == "f" and array.max() <= 1:
        array = array * 255
    array = np.round(array).astype(np.uint8)
    if array.shape[1:] == (_SIDE, _SIDE):
        return array
    shrinks = max(array.shape[1:]) > _SIDE
    return np.stack(
        [cv2.resize(one, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC) for one in array]
    )


# --- pictures -----------------------------------------------------------------------------------------------


def _read_picture_folders(path: Path) -> tuple[dict[str, Labelled], bool]:
    inside = {folder.name.lower(): folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] != "."}
    if set(_PARTS) <= set(inside):
        read = {part: _read_classes(inside[part]) for part in _PARTS}
        if missing := set(read["test"][1]) - set(read["train"][1]):
            raise DataError(f"dataset: {path}: class {min(missing)} is in test and not in train")
        return read, True
    return {"train": _read_classes(path)}, True


def _read_classes(path: Path) -> Labelled:
    images, labels = [], []
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] != ".")
    if not folders:
        raise DataError(f"dataset: {path} holds no data; allowed: {FORMS}")
    for folder in folders:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != ".")
        if not files:
            raise DataError(f"dataset: class {folder.name} has no picture in {folder}")
        for file in files:
            try:
                images.append(preprocess(file).image)
            except ImageError as error:
                raise DataError(f"dataset: {file}: {error}") from None
            labels.append(folder.name)
    return np.stack(images), labels


def _read_parquet(path: Path) -> Labelled:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise DataError(f"dataset: {path} needs pyarrow; install it: pip install pyarrow") from None
    except (OSError, ValueError) as error:
        raise DataError(f"dataset: {path} is damaged: {str(error).splitlines()[0]}") from None
    if not {"image", "label"} <= set(table):
        raise DataError(f"dataset: {path} has the columns {', '.join(map(str, table))}; wanted image and label")
    images = []
    for row, content in enumerate(table["image"]):
        encoded = content.get("bytes") if isinstance(content, dict) else content
        pixels = cv2.imdecode(np.frombuffer(encoded or b"\0", np.uint8), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise DataError(f"dataset: {path}, row {row}: the picture cannot be decoded")
        images.append(_as_images(pixels[None], f"{path}, row {row}")[0])
    return np.stack(images), [str(label) for label in table["label"]]


# --- numbers ------------------------------------------------------------------------------------------------


def read_pixel_rows(path: Path, *, labelled: bool) -> tuple[Images, list[str]]:
    """Read a CSV of 784 pixels a row, after a label or without one, with a header or without.

    Raises
    ------
    DataError
        Names the row that is wrong, the first one being 1.
    """
    import pandas as pd

    try:
        with gzip.open(path, "rt") if path.name.endswith(".gz") else path.open(encoding="utf-8") as file:
            first = file.readline()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"dataset: {path} cannot be read: {error}") from None
    columns = len(first.split(","))
    if columns == _SIDE**2 and labelled:
        raise DataError(f"dataset: {path} has 784 columns and so no labels; mnist predict --submission predicts such a file")
    if columns != _SIDE**2 + labelled:
        raise DataError(f"dataset: {path} has {columns} columns; wanted {'a label and ' * labelled}784 pixels")
    header = None if first.split(",")[-1].strip().strip('"').replace(".", "", 1).isdigit() else 0
    try:
        table = pd.read_csv(path, header=header, dtype=str if labelled else None)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"dataset: {path} is damaged: {str(error).splitlines()[0]}") from None
    pixels = table.iloc[:, int(labelled) :].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~((pixels >= 0) & (pixels <= 255)).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"dataset: {path}, row {row + 1 + (header == 0)}: a pixel is not a number from 0 to 255")
    labels = [str(label).strip() for label in table.iloc[:, 0]] if labelled else []
    if labelled and (table.iloc[:, 0].isna().any() or not all(labels)):
        raise DataError(f"dataset: {path}, row {int(table.iloc[:, 0].isna().argmax()) + 1 + (header == 0)}: no label")
    return pixels.round().astype(np.uint8).reshape(-1, _SIDE, _SIDE), labels


def _read_csv(path: Path) -> Labelled:
    return read_pixel_rows(path, labelled=True)


def _read_npz(path: Path) -> dict[str, Labelled]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"dataset: {path} is damaged: {error}") from None
    parts = {}
    for part in _PARTS:
        if f"x_{part}" in arrays and f"y_{part}" in arrays:
            images, labels = _as_images(arrays[f"x_{part}"], f"{path}: x_{part}"), arrays[f"y_{part}"].ravel()
            if len(images) != len(labels):
                raise DataError(f"dataset: {path} has {len(images)} images and {len(labels)} labels in its {part} part")
            parts[part] = images, [str(label) for label in labels.tolist()]
    if "train" not in parts:
        raise DataError(f"dataset: {path} holds {', '.join(arrays)}; wanted x_train, y_train, and perhaps x_test, y_test")
    return parts


def _read_idx_folder(path: Path) -> tuple[dict[str, Labelled], bool] | None:
    """Read IDX files; None if there are none. torchvision keeps MNIST's in ``MNIST/raw``."""
    folder = next((place for place in (path, path / "raw", path / "MNIST" / "raw") if _idx_images(place)), None)
    if folder is None:
        return None
    parts = {}
    for file in _idx_images(folder):
        beside = file.name.replace("images", "labels").replace("idx3", "idx1")
        names = beside, beside.removesuffix(".gz"), f"{beside}.gz"
        labels_file = next((folder / name for name in names if (folder / name).is_file()), None)
        if labels_file is None:
            raise DataError(f"dataset: {folder} lacks {beside}, the labels of {file.name}")
        images, labels = _as_images(_read_idx(file, 3), str(file)), _read_idx(labels_file, 1)
        if len(images) != len(labels):
            raise DataError(f"dataset: {file} has {len(images)} images and {labels_file.name} {len(labels)} labels")
        if file.name.startswith("emnist"):
            images = np.ascontiguousarray(images.swapaxes(1, 2))  # EMNIST's lie on their side, mirrored
        part = "train" if "train" in file.name else "test"
        if part in parts:
            raise DataError(f"dataset: {folder} has several {part} parts; give a folder with one data set's files")
        parts[part] = images, [str(label) for label in labels.tolist()]
    if "train" not in parts:
        raise DataError(f"dataset: {folder} has no file of training images (...train...images-idx3-ubyte)")
    return parts, False


def _idx_images(folder: Path) -> list[Path]:
    """List the files of images, those that are not gzipped first where both are there."""
    found = sorted(folder.glob("*images-idx3-ubyte")) + sorted(folder.glob("*images-idx3-ubyte.gz"))
    return [file for file in found if file.suffix != ".gz" or file.with_suffix("") not in found]


def _read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"dataset: {path} cannot be read: {error}") from None
    header = 4 * (axes + 1)
    fields = np.frombuffer(content[:header].ljust(header, b"\0"), ">u4")
    shape = tuple(int(side) for side in fields[1:])
    if fields[0] != 0x800 + axes or len(content) - header != int(np.prod(shape, dtype=object)):
        raise DataError(f"dataset: {path} is no IDX file of {shape} bytes, as its header says")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
