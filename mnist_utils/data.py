"""Data sets with their splits: where they come from, and proof that they are what they claim to be."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_utils import MnistError

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]

# Which images are validation does not depend on a run's seed: runs stay comparable image by image.
_SPLIT_SEED = 0
_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801  # IDX: unsigned bytes in three dimensions, in one


class DataError(MnistError):
    """A data set that is missing, damaged or not what it should be."""


class DataNotFoundError(DataError):
    """No copy of the data set anywhere, and none to be had."""


@dataclass(frozen=True)
class Dataset:
    """Images, white on black, with their labels, in three disjoint parts.

    Attributes
    ----------
    name : str
        The data set that this really is (never ``auto``).
    x_train, x_validation, x_test : uint8 array, shape (n, 28, 28)
    y_train, y_validation, y_test : uint8 array, shape (n,), values 0 to 9
    source : str
        Where the images were found.
    sha256 : str
        Of all images and labels before the split, so that a run can tell what it was trained on.
    note : str
        Why this is not the data set one might expect; empty where it is. Shown wherever a number is.
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


@dataclass(frozen=True)
class Part:
    """One IDX file of a data set: its name, its item count, and the checksums of what is inside and of the .gz."""

    file: str
    count: int
    packed_hash: str
    content_sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set in MNIST's four files: train images, train labels, test images, test labels."""

    name: str
    mirrors: tuple[str, ...]
    parts: tuple[Part, Part, Part, Part]


def _source(name: str, mirrors: tuple[str, ...], packed: list[str], content: list[str | None] | None = None) -> Source:
    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    rows = zip(files, (60_000, 60_000, 10_000, 10_000), packed, content or [None] * 4, strict=True)
    first, second, third, fourth = (Part(*row) for row in rows)
    return Source(name, mirrors, (first, second, third, fourth))


# The authors of Fashion-MNIST and KMNIST publish MD5 sums of the packed files, none of the content.
SOURCES = {
    "mnist": _source(
        "mnist",
        ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
        [
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ],
        [
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ],
    ),
    "fashion_mnist": _source(
        "fashion_mnist",
        (
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        [
            "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "md5:25c81989df183df01b3e8a0aad5dffbe",
            "md5:bef4ecab320f06d8554ea6380940ec79",
            "md5:bb300cfdad3c16e7a12a480ee83cd310",
        ],
    ),
    "kmnist": _source(
        "kmnist",
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        [
            "md5:bdb82020997e1d708af4cf47b453dcf7",
            "md5:e144d726b3acfaa3e44228e80efcd344",
            "md5:5c965bf0a639b31b8f53240b1b52f4d7",
            "md5:7320c461ea6c1c855c0b718fb2a4b134",
        ],
    ),
}


def load_dataset(
    name: str = "auto",
    *,
    data_dir: str | Path | None = None,
    validation_fraction: float = 0.1,
    train_limit: int | None = None,
) -> Dataset:
    """Load a data set and split it.

    Parameters
    ----------
    name : {"auto", "mnist", "digits", "fashion_mnist", "kmnist"}
        ``digits`` is embedded (scikit-learn's UCI digits, 1,797 images); ``auto`` is ``mnist`` if it can be
        had, else, unless `data_dir` is given, ``digits`` with a note that says so.
    data_dir : path, optional
        Folder with the four IDX files (gzipped or not) or ``mnist.npz``; other data sets than MNIST lie in a
        sub-folder of their name. Default: the environment's ``MNIST_DATA_DIR``. Without it, or where it holds
        no copy, the caches are searched, then the mirrors asked.
    validation_fraction : float
        Share of the training images that becomes the validation set, stratified by label.
    train_limit : int, optional
        Keep only this many of the remaining training images, stratified by label.

    Raises
    ------
    DataError
        If the data set is damaged, missing (`DataNotFoundError`), or has fewer images than `train_limit`.
    """
    folder, note = _folder(data_dir), ""
    if name == "auto":
        try:
            arrays, where = _find(SOURCES["mnist"], folder)
            name = "mnist"
        except DataNotFoundError:
            if data_dir:  # whoever names a folder wants what is in it
                raise
            (arrays, where), name = _digits(), "digits"
            lacking = f" (MNIST_DATA_DIR={folder} holds none)" if folder else ""
            note = f"MNIST could not be had{lacking}: this is `digits`, 1,797 small images (why: mnist data --dataset mnist)"
    elif name == "digits":
        arrays, where = _digits()
    elif name in SOURCES:
        arrays, where = _find(SOURCES[name], folder)
    else:
        raise DataError(f"dataset: given {name!r}; allowed: auto, digits, {', '.join(SOURCES)}")
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    x, y, x_test, y_test = arrays
    train, validation = _split(y, validation_fraction, train_limit)
    dataset = Dataset(name, x[train], y[train], x[validation], y[validation], x_test, y_test, where, digest.hexdigest())
    return replace(dataset, note=note)


def _split(labels: Labels, validation_fraction: float, train_limit: int | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    from sklearn.model_selection import train_test_split  # heavy; not needed to import this module

    every = np.arange(len(labels))
    if math.ceil(validation_fraction * len(labels)) < 10:  # one of each digit
        raise DataError(
            f"validation_fraction: given {validation_fraction:g}; at least {10 / len(labels):.2g} for {len(labels)} images"
        )
    train, validation = train_test_split(every, test_size=validation_fraction, stratify=labels, random_state=_SPLIT_SEED)
    if train_limit is not None and train_limit > len(train):
        raise DataError(f"train_limit: given {train_limit}; the training part has {len(train)} images")
    if train_limit is not None and train_limit <= len(train) - 10:
        train, _ = train_test_split(train, train_size=train_limit, stratify=labels[train], random_state=_SPLIT_SEED)
    elif train_limit is not None:  # too few are left out to stratify them
        train = np.random.default_rng(_SPLIT_SEED).permutation(train)[:train_limit]
    return np.sort(train), np.sort(validation)


# --- finding a copy ---------------------------------------------------------------------------------------


def cache_dir() -> Path:
    """Return the folder where downloads are kept."""
    with warnings.catch_warnings(action="ignore"):  # its progress bar, which is not shown, asks for a widget in notebooks
        import pooch

    return Path(pooch.os_cache("mnist-workbench"))


def _find(source: Source, folder: Path | None) -> tuple[tuple[Images, Labels, Images, Labels], str]:
    """Search folder, caches and mirrors, in that order; a damaged copy is an error, not a reason to go on."""
    found, tried = _search(source, folder)
    if found:
        return found
    ours = cache_dir() / source.name
    try:
        mirror = _download(source, ours)
    except DataNotFoundError as error:
        mend = "Set MNIST_DATA_DIR to a folder with the four IDX files or mnist.npz, or use --dataset digits."
        if source.name != "mnist":
            mend = f"Put its four IDX files into a folder {source.name} in the folder that MNIST_DATA_DIR names."
        raise DataNotFoundError(f"{source.name} was not found in: {'; '.join(tried)}.\n{error}\n{mend}") from None
    arrays = _read_folder(source, ours)
    if not arrays:
        raise DataError(f"{ours} lost its files while they were read")
    return arrays, mirror


def find_copy(name: str, *, data_dir: str | Path | None = None) -> str:
    """Return where a whole copy of a data set lies on this machine; empty if nowhere. Downloads nothing.

    Parameters
    ----------
    name, data_dir
        See `load_dataset`; a name of `SOURCES`.

    Raises
    ------
    DataError
        If the copy is damaged.
    """
    found, _ = _search(SOURCES[name], _folder(data_dir))
    return found[1] if found else ""


def _folder(data_dir: str | Path | None) -> Path | None:
    given = data_dir or os.environ.get("MNIST_DATA_DIR")
    return Path(given) if given else None


def _search(
    source: Source, folder: Path | None
) -> tuple[tuple[tuple[Images, Labels, Images, Labels], str] | None, list[str]]:
    """Search folder and caches; return the arrays with their place, or None, and the places that hold none."""
    tried: list[str] = []
    if folder is not None:
        for place in (folder / source.name, folder) if source.name == "mnist" else (folder / source.name,):
            if found := _read_folder(source, place):
                return (found, str(place)), tried
            tried.append(str(place))
    else:
        tried.append("no folder was given (MNIST_DATA_DIR, --data-dir)")
    ours = cache_dir() / source.name
    # A download that broke off has left some of the files: they are whole, and the rest is fetched below.
    if all(any(_candidates(ours, part.file)) for part in source.parts) and (found := _read_folder(source, ours)):
        return (found, str(ours)), tried
    tried.append(str(ours))
    keras_cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    if source.name == "mnist" and (keras_cache / "mnist.npz").is_file():
        return (_read_npz(source, keras_cache / "mnist.npz"), str(keras_cache / "mnist.npz")), tried
    tried.append(str(keras_cache))
    return None, tried


def _read_folder(source: Source, folder: Path) -> tuple[Images, Labels, Images, Labels] | None:
    """Read the four files, or the .npz, in `folder`; None if there is none of them."""
    paths = [next(_candidates(folder, part.file), None) for part in source.parts]
    if not any(paths):
        packed = folder / f"{source.name}.npz"
        return _read_npz(source, packed) if packed.is_file() else None
    missing = [part.file for part, path in zip(source.parts, paths, strict=True) if path is None]
    if missing:
        raise DataError(
            f"{folder} lacks {', '.join(missing)} (or .gz). Copy the missing files there, or name another folder."
        )
    arrays = [_read_idx(part, path) for part, path in zip(source.parts, paths, strict=True) if path]
    return _checked(source, arrays, str(folder))


def _candidates(folder: Path, file: str) -> Iterator[Path]:
    for name in (file, f"{file}.gz", file.replace("-idx", ".idx")):  # the last: as some archives unpack it
        if (folder / name).is_file():
            yield folder / name


def _download(source: Source, folder: Path) -> str:
    """Fetch the four packed files into `folder`; pooch checks each one's hash before it gets its name."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=(5, 30))
    failures = []
    for mirror in source.mirrors:
        try:
            for part in source.parts:
                file = f"{part.file}.gz"
                pooch.retrieve(mirror + file, part.packed_hash, fname=file, path=folder, downloader=downloader)
            return mirror
        except requests.RequestException as error:
            failures.append(f"{mirror}: {_reason(error)}")
        except ValueError as error:  # pooch's word for a wrong hash
            failures.append(f"{mirror}: {str(error).splitlines()[0]}")
        except OSError as error:
            raise DataNotFoundError(
                f"cannot write the download to {folder}: {error.strerror or error}. "
                "Set XDG_CACHE_HOME to a folder that can be written, or MNIST_DATA_DIR to one that holds the data."
            ) from None
    raise DataNotFoundError(f"Downloads failed: {'; '.join(failures)}.")


def _reason(error: Exception) -> str:
    """Return the innermost cause of a network error, in one short line."""
    while error.__context__ is not None and isinstance(error.__context__, Exception):
        error = error.__context__
    return f"{type(error).__name__}: {error}"[:120]


# --- reading and checking ---------------------------------------------------------------------------------


def _read_idx(part: Part, path: Path) -> NDArray[np.uint8]:
    try:
        content = path.read_bytes()
        algorithm, _, expected = part.packed_hash.partition(":")
        known = part.content_sha256 or path.suffix != ".gz"  # what is inside is checked, or cannot be
        if not known and hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() != expected:
            raise DataError(
                f"{path} is not the published file: its {algorithm.upper()} is not {expected}. Delete it or fetch it again."
            )
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except EOFError:
        raise DataError(f"{path} is truncated: the gzip stream breaks off. Delete it or fetch it again.") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Delete it or fetch it again.") from None
    images = "images" in part.file
    header, magic = (16, _IMAGES_MAGIC) if images else (8, _LABELS_MAGIC)
    if len(content) < header:
        raise DataError(f"{path} is truncated: {len(content)} bytes, less than an IDX header. Delete it or fetch it again.")
    fields = np.frombuffer(content[:header], ">u4")
    if fields[0] != magic:
        raise DataError(
            f"{path} is not an IDX file of {'images' if images else 'labels'}: magic {fields[0]:#x}, not {magic:#x}."
        )
    if images and tuple(fields[2:]) != (28, 28):
        raise DataError(f"{path} holds images of {fields[2]}x{fields[3]}, not 28x28.")
    size = int(fields[1]) * (784 if images else 1)
    if len(content) - header != size:
        word = "truncated" if len(content) - header < size else "too long"
        raise DataError(
            f"{path} is {word}: {len(content) - header} bytes of data, its header says {size}. Delete it or fetch it again."
        )
    array = np.frombuffer(content, np.uint8, offset=header)
    return array.reshape(-1, 28, 28) if images else array


def _read_npz(source: Source, path: Path) -> tuple[Images, Labels, Images, Labels]:
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = [archive[name] for name in names]
    except KeyError as error:
        raise DataError(f"{path} has no array {error}; it must hold {', '.join(names)}.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Delete it or fetch it again.") from None
    return _checked(source, arrays, str(path))


def _checked(source: Source, arrays: list[NDArray[np.uint8]], where: str) -> tuple[Images, Labels, Images, Labels]:
    """Raise `DataError` unless counts, labels and, where it is known, the content's SHA-256 are right."""
    for part, array in zip(source.parts, arrays, strict=True):
        shape = (part.count, 28, 28) if "images" in part.file else (part.count,)
        if array.shape != shape or array.dtype != np.uint8:
            raise DataError(f"{where}: {part.file} has shape {array.shape} of {array.dtype}, not {shape} of uint8.")
        if array.ndim == 1 and array.max() > 9:
            bad = int(array.argmax())
            raise DataError(f"{where}: {part.file} has label {array[bad]} at index {bad}; labels are 0 to 9.")
        if part.content_sha256:
            magic = _IMAGES_MAGIC if array.ndim == 3 else _LABELS_MAGIC
            digest = hashlib.sha256(np.array([magic, *shape], ">u4").tobytes())
            digest.update(array.tobytes())
            if digest.hexdigest() != part.content_sha256:
                raise DataError(
                    f"{where}: {part.file} is not {source.name}'s: its content's SHA-256 begins {digest.hexdigest()[:12]}, "
                    f"not {part.content_sha256[:12]}. Delete it or fetch it again."
                )
    x_train, y_train, x_test, y_test = arrays
    return x_train, y_train, x_test, y_test


# --- digits -----------------------------------------------------------------------------------------------


def place(ink: NDArray[np.floating]) -> Images:
    """Place a digit as MNIST places its digits: in a 20x20 box, its mass at the centre of 28x28.

    Parameters
    ----------
    ink : float array, shape (height, width), values 0 (paper) to 1 (ink)
        Must hold some ink; paper around it is cropped first.

    Returns
    -------
    uint8 array, shape (28, 28), white on black

    References
    ----------
    LeCun, Cortes, Burges: The MNIST database of handwritten digits (how its images were normalised).
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = 20 / max(cropped.shape)
    height, width = (max(1, round(scale * side)) for side in cropped.shape)
    picture = Image.fromarray(cropped.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    small = np.clip(np.asarray(picture), 0, 1)
    mass = small.sum()
    # The centre of mass goes to within half a pixel of (14, 14), as it is in MNIST; the box stays inside.
    top = round(14 - float(small.sum(axis=1) @ np.arange(height)) / float(mass))
    left = round(14 - float(small.sum(axis=0) @ np.arange(width)) / float(mass))
    top, left = min(max(top, 0), 28 - height), min(max(left, 0), 28 - width)
    placed = np.zeros((28, 28), np.uint8)
    placed[top : top + height, left : left + width] = np.round(255 * small)
    return placed


def _digits() -> tuple[tuple[Images, Labels, Images, Labels], str]:
    """Scikit-learn's digits, placed as MNIST's, with a fixed stratified fifth as the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.stack([place(image / 16) for image in bunch.images])
    x, x_test, y, y_test = train_test_split(
        images, bunch.target.astype(np.uint8), test_size=0.2, stratify=bunch.target, random_state=_SPLIT_SEED
    )
    return (x, y, x_test, y_test), "scikit-learn"
