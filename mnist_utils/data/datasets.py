"""Data sets with their splits, their source, and their checksum."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.classes import DIGITS
from mnist_utils.data.idx import DataError
from mnist_utils.data.own import is_path, read_own, refuse_reading, suggest_dataset
from mnist_utils.data.own_pictures import Done
from mnist_utils.data.sources import NAMES, SOURCES, DataNotFoundError, find_arrays, given_folder
from mnist_utils.preprocessing.center import center_digit

# The split does not depend on a run's seed, so that runs can be compared image by image.
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Dataset:
    """Images, white on black, with their labels, in three disjoint parts.

    Attributes
    ----------
    name : str
        The data set's own name (never ``auto``).
    x_train, x_validation, x_test : uint8 array, shape (n, 28, 28)
    y_train, y_validation, y_test : uint8 array, shape (n,), values from 0 to below the number of classes
    source : str
        Where the images were found.
    sha256 : str
        Of all images and labels before the split, to identify a run's data.
    note : str
        If ``auto`` fell back to ``digits``: why; of your own data: what was done that they do not say; otherwise empty.
        Shown with every result.
    classes : tuple of str
        The name of each label.
    raw, skip_unreadable : bool
        How pictures were read, see `load_dataset`.
    own : bool
        Whether it is your own data: `source` is then its path.
    """

    name: str
    x_train: Images
    y_train: Labels
    x_validation: Images
    y_validation: Labels
    x_test: Images
    y_test: Labels
    source: str
    sha256: str
    note: str = ""
    classes: tuple[str, ...] = DIGITS
    raw: bool = False
    skip_unreadable: bool = False
    own: bool = False

    @property
    def given(self) -> str:
        """What `load_dataset` takes to load it again: its name, or the path of your own data."""
        return self.source if self.own else self.name


def load_dataset(
    name: str = "auto",
    *,
    data_dir: str | Path | None = None,
    validation_fraction: float = 0.1,
    train_limit: int | None = None,
    raw: bool = False,
    skip_unreadable: bool = False,
    done: Done | None = None,
) -> Dataset:
    """Load a data set and split it.

    Parameters
    ----------
    name : {"auto", "mnist", "digits", "fashion_mnist", "kmnist"}, or a path
        A path is that of your own data, see `data.own.read_parts`; the data set is then called as the file or folder.
        ``digits`` is embedded (scikit-learn's UCI digits, 1,797 images). ``auto`` is ``mnist`` if available;
        otherwise, unless `data_dir` is given, ``digits`` with a note.
    data_dir : path, optional
        Folder with the four IDX files (gzipped or not) or ``mnist.npz``; data sets other than MNIST are in a
        sub-folder of their name. They are taken from there, or it is an error. Default: the environment variable
        ``MNIST_DATA_DIR``; without it, or if it has no copy, the caches are searched, then the mirrors are tried.
    validation_fraction : float
        Share of the training images held out for validation, stratified by label; 0: none.
    train_limit : int, optional
        Keep only this many of the remaining training images, stratified by label.
    raw, skip_unreadable, done
        See `data.own.read_parts`.

    Raises
    ------
    DataError
        If the data set is damaged, missing (`DataNotFoundError`), or has fewer images than `train_limit`.
    ConfigError
        If `data_dir`, `raw` or `skip_unreadable` is given for data that do not take it.
    """
    note, classes = "", SOURCES[name].classes if name in SOURCES else DIGITS
    is_own = False
    refuse_folder(name, data_dir)
    if name in NAMES:
        refuse_reading(f"the data set {name}", raw=raw, skip_unreadable=skip_unreadable)
    if name == "auto":
        try:
            arrays, where = find_arrays(SOURCES["mnist"], data_dir)
            name = "mnist"
        except DataNotFoundError:
            if data_dir:  # the user wants the data in this folder, and no other
                raise
            (arrays, where), name = _digits(), "digits"
            lacking = f" (no copy in MNIST_DATA_DIR={folder})" if (folder := given_folder()) else ""
            note = f"MNIST is not available{lacking}: using `digits`, 1,797 small images (why: mnist data --dataset mnist)"
    elif name == "digits":
        arrays, where = _digits()
    elif name in SOURCES:
        arrays, where = find_arrays(SOURCES[name], data_dir)
    elif is_path(name):
        own = read_own(Path(name), raw=raw, skip_unreadable=skip_unreadable, done=done)
        arrays, where = (own.x, own.y, own.x_test, own.y_test), str(Path(name).resolve())
        note, classes = own.note, own.classes
        name, is_own = Path(name).name.split(".")[0], True
    else:
        raise DataError(f"dataset: given {name!r}; allowed: {', '.join(NAMES)}, or a path, as ./shapes or train.csv")
    x, y, x_test, y_test = arrays
    train, validation = _split(y, validation_fraction, train_limit)
    dataset = Dataset(name, x[train], y[train], x[validation], y[validation], x_test, y_test, where, hash_arrays(*arrays))
    return replace(dataset, note=note, classes=classes, raw=raw, skip_unreadable=skip_unreadable, own=is_own)


def hash_arrays(*arrays: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of images and labels before the split: training images and labels, test images and labels."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def refuse_folder(name: str, data_dir: str | Path | None) -> None:
    """Refuse a folder for data that are not looked for in one: ignored, it would be taken for where they are from.

    Raises
    ------
    ConfigError
        Says what to do.
    """
    if not data_dir or not (name == "digits" or is_path(name)):
        return
    folder = Path(data_dir)
    why = "which is scikit-learn's and in no folder" if name == "digits" else "which is a path already"
    own = suggest_dataset(folder)
    fix = f"For the data in {folder}: --dataset {own}" if own and name == "digits" else "Leave data_dir out."
    raise ConfigError(f"data_dir: given {folder} with the data set {name}, {why}.\n{fix}")


def _split(labels: Labels, validation_fraction: float, train_limit: int | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    from sklearn.model_selection import train_test_split  # heavy; not needed to import this module

    indices = np.arange(len(labels))
    classes = len(np.unique(labels))
    if validation_fraction and math.ceil(validation_fraction * len(labels)) < classes:  # fewer than one image per class
        raise DataError(
            f"validation_fraction: given {validation_fraction:g}; allowed for {len(labels)} images: "
            f"from {math.ceil(1000 * classes / len(labels)) / 1000:g}"
        )
    train, validation = indices, indices[:0]
    if validation_fraction:
        train, validation = train_test_split(
            indices, test_size=validation_fraction, stratify=labels, random_state=_SPLIT_SEED
        )
    if train_limit is not None and train_limit > len(train):
        raise DataError(f"train_limit: given {train_limit}; allowed: up to the {len(train)} training images")
    if train_limit is not None and train_limit <= len(train) - classes:
        train, _ = train_test_split(train, train_size=train_limit, stratify=labels[train], random_state=_SPLIT_SEED)
    elif train_limit is not None:  # fewer than one per class are left out: too few to stratify
        train = np.random.default_rng(_SPLIT_SEED).permutation(train)[:train_limit]
    return np.sort(train), np.sort(validation)


def _digits() -> tuple[tuple[Images, Labels, Images, Labels], str]:
    """Load scikit-learn's digits, centred as in MNIST, with a fixed stratified fifth as the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.stack([center_digit(image / 16) for image in bunch.images])
    x, x_test, y, y_test = train_test_split(
        images, bunch.target.astype(np.uint8), test_size=0.2, stratify=bunch.target, random_state=_SPLIT_SEED
    )
    return (x, y, x_test, y_test), "scikit-learn"
