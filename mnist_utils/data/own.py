"""Your own data: a folder of pictures per class, a CSV, an NPZ, a Parquet file, or IDX files, read by their form."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnist_utils import ConfigError
from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.idx import DataError
from mnist_utils.data.own_pictures import (
    Done,
    class_folders,
    describe_unread,
    find_encoded,
    find_pictures,
    picture_files,
    read_pictures,
)
from mnist_utils.data.own_tables import PARTS, Labelled, check_count, idx_images, read_csv, read_idx_folder, read_npz

FORMS = "a folder with a folder of pictures per class, .csv, .csv.gz (label, pixels), .npz, .parquet, a folder of IDX files"
_FILES = ".csv", ".csv.gz", ".npz", ".parquet"
_TEST_SHARE, _SPLIT_SEED = 0.2, 0  # of data that come without a test part


@dataclass(frozen=True)
class OwnParts:
    """Labelled images as they were found.

    Attributes
    ----------
    parts : dict
        ``train``, and ``test`` if the data have one: images (uint8, (n, 28, 28), white on black) and labels (uint8, (n,)).
    classes : tuple of str
        The name of each label.
    note : str
        What was done that the data do not say; empty if nothing.
    pictures : bool
        Whether they were pictures.
    """

    parts: dict[str, tuple[Images, Labels]]
    classes: tuple[str, ...]
    note: str
    pictures: bool


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


def is_path(name: str) -> bool:
    """Say whether the name of a data set is a path."""
    return "/" in name or "\\" in name or name.endswith(_FILES) or name in (".", "..")


def refuse_reading(what: str, *, raw: bool, skip_unreadable: bool) -> None:
    """Refuse options of how pictures are read for data that hold none.

    Raises
    ------
    ConfigError
        Names the option.
    """
    for name, given in ("raw", raw), ("skip_unreadable", skip_unreadable):
        if given:
            raise ConfigError(f"{name}: given with {what}, which holds no pictures; allowed: with your own pictures only")


def read_own(path: Path, *, raw: bool = False, skip_unreadable: bool = False, done: Done | None = None) -> OwnData:
    """Read labelled images in two parts; see `read_parts` and `split_parts`."""
    return split_parts(path, read_parts(path, raw=raw, skip_unreadable=skip_unreadable, done=done))


def read_parts(
    path: Path, *, raw: bool = False, skip_unreadable: bool = False, least: int = 2, done: Done | None = None
) -> OwnParts:
    """Read labelled images.

    Parameters
    ----------
    path : Path
        A folder with a folder of pictures per class, each picture read as `preprocess` does; with ``train`` and ``test``
        above them, or not. Or a Parquet file with ``label`` and ``image`` (encoded pictures, read likewise). Or a CSV file,
        gzipped or not, with a label and 784 pixels a row, with a header or without. Or an NPZ file with ``x_train``,
        ``y_train`` and perhaps ``x_test``, ``y_test``. Or a folder of IDX files (``*images-idx3-ubyte``,
        ``*labels-idx1-ubyte``, gzipped or not); EMNIST's images are turned upright. A file ``classes.txt`` or EMNIST's
        ``*mapping.txt`` beside them names the classes. Images of other sizes are resized to 28x28, colour becomes grey.
    raw : bool
        Whether pictures are only decoded and resized, and taken for white on black.
    skip_unreadable : bool
        Whether pictures that cannot be read are left out, which the note says.
    least : int
        Classes that there must be.
    done : callable, optional
        Told after each picture which one it was, from 1, of how many.

    Raises
    ------
    DataError
        If there is no such path, or it holds something else: the message names the file and the row.
    ConfigError
        If `raw` or `skip_unreadable` is given, and there are no pictures.
    """
    if not path.exists():
        raise DataError(f"dataset: there is no file or folder {path}")
    tables, pictures = _read_tables(path), []
    if tables is None:
        pictures = find_pictures(path, least) if path.is_dir() else find_encoded(path)
        if not pictures:
            raise DataError(_describe_nothing(path))
        tables, note = read_pictures(path, pictures, raw=raw, skip_unreadable=skip_unreadable, done=done)
        note = "; ".join(filter(None, [note, describe_unread(path, pictures)]))
    else:
        refuse_reading(str(path), raw=raw, skip_unreadable=skip_unreadable)
        note = ""
    labels = sorted({label for _, part in tables.values() for label in part}, key=_natural)
    check_count(path, len(labels), least)
    names = {label: label for label in labels} if pictures and path.is_dir() else _names(path, labels)
    return OwnParts({part: _number(tables[part], names) for part in tables}, tuple(names.values()), note, bool(pictures))


def _read_tables(path: Path) -> dict[str, Labelled] | None:
    """Read data that are numbers; None if they are pictures."""
    if path.is_dir():
        return read_idx_folder(path)
    if path.name.endswith((".csv", ".csv.gz")):
        return {"train": read_csv(path)}
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix == ".parquet":
        return None
    raise DataError(f"dataset: {path} is none of: {FORMS}")


def _describe_nothing(path: Path) -> str:
    if n := len(picture_files(path)):
        return f"dataset: {path} holds {n:,} pictures and no folders; put those of each class into a folder of its name"
    return f"dataset: {path} holds no data; allowed: {FORMS}"


def suggest_dataset(path: Path) -> str:
    """Return what to give as ``--dataset`` for a path that looks like one's own data; empty if it does not."""
    if not path.is_dir():
        found = path if path.name.endswith(_FILES) and path.is_file() else None
    else:
        folders = class_folders(path)
        folders += [inside for folder in folders if folder.name.lower() in PARTS for inside in class_folders(folder)]
        files = sorted(file for file in path.iterdir() if file.name.endswith(_FILES) and file.name != "mnist.npz")
        files.sort(key=lambda file: "train" not in file.name)
        pictures = picture_files(path) or idx_images(path) or any(picture_files(folder) for folder in folders)
        found = path if pictures else next(iter(files), None)
    if found is None:
        return ""
    return shlex.quote(str(found) if is_path(str(found)) else f"./{found}")


def _natural(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (2**31, label)


def _names(path: Path, labels: list[str]) -> dict[str, str]:
    """Name each label that occurs, from a file beside the data if there is one."""
    folder = path if path.is_dir() else path.parent
    mapping = next(iter(sorted(folder.glob("*mapping.txt"))), None)
    file = folder / "classes.txt"
    known: dict[str, str] = {}
    if file.is_file():
        known = {str(label): line for label, line in enumerate(_lines(file)) if line}
    elif mapping:
        known, file = _read_mapping(mapping), mapping
    if known and (nameless := [label for label in labels if label.isdecimal() and label not in known]):
        raise DataError(f"dataset: {file} has no name for label {nameless[0]} of {path}")
    names = {label: known.get(label, label) for label in labels}
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise DataError(f"dataset: {path} has two classes of the name {twice!r}{f', by {file}' if known else ''}")
    return names


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise DataError(f"dataset: {file} is not UTF-8: {error}") from None


def _read_mapping(file: Path) -> dict[str, str]:
    """Read EMNIST's file: a label, then the code of its character (and of others that it stands for) in each row."""
    known: dict[str, str] = {}
    for row, line in enumerate(_lines(file), 1):
        cells = line.split()
        if cells and not (len(cells) > 1 and cells[1].isdecimal() and 32 < int(cells[1]) <= 0x10FFFF):
            raise DataError(f"dataset: {file}, row {row}: {line!r}; wanted a label and the code of a character")
        known |= {cells[0]: chr(int(cells[1]))} if cells else {}
    return known


def _number(part: Labelled, names: dict[str, str]) -> tuple[Images, Labels]:
    number = {label: at for at, label in enumerate(names)}
    return part[0], np.array([number[label] for label in part[1]], np.uint8)


def split_parts(path: Path, found: OwnParts) -> OwnData:
    """Make a fifth of the images, stratified, the test part of data that have none.

    Raises
    ------
    DataError
        If a class has too few images for that.
    """
    (x, y), notes = found.parts["train"], [found.note]
    if "test" in found.parts:
        x_test, y_test = found.parts["test"]
    else:
        from sklearn.model_selection import train_test_split

        counts = np.bincount(y, minlength=len(found.classes))
        if counts.min() < 5:
            few, n = found.classes[int(counts.argmin())], counts.min()
            raise DataError(
                f"dataset: {path}: class {few} has {n} image{'' if n == 1 else 's'}; at least 5 are needed for a test part"
            )
        x, x_test, y, y_test = train_test_split(x, y, test_size=_TEST_SHARE, stratify=y, random_state=_SPLIT_SEED)
        notes.append(f"{path.name} has no test part: {len(x_test):,} of its images, stratified, are the test part")
    return OwnData(x, y, x_test, y_test, found.classes, "; ".join(filter(None, notes)))
