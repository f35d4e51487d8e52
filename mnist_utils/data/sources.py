"""Where the data sets are published, and the search for their files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.classes import DIGITS
from mnist_utils.data.idx import DataError, Part, Source, check_arrays, read_idx, read_npz


class DataNotFoundError(DataError):
    """No copy of the data set was found, and none could be downloaded."""


def _make_source(
    name: str,
    mirrors: tuple[str, ...],
    packed: list[str],
    content: list[str | None] | None = None,
    *,
    images: tuple[int, int] = (60_000, 10_000),  # training, test
    classes: tuple[str, ...] = DIGITS,
) -> Source:
    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    rows = zip(files, (images[0], images[0], images[1], images[1]), packed, content or [None] * 4, strict=True)
    first, second, third, fourth = (Part(*row) for row in rows)
    return Source(name, mirrors, (first, second, third, fourth), classes)


# The authors of Fashion-MNIST and KMNIST publish MD5 checksums of the packed files only, not of their content.
SOURCES = {
    "mnist": _make_source(
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
    "fashion_mnist": _make_source(
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
        classes=("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "kmnist": _make_source(
        "kmnist",
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        [
            "md5:bdb82020997e1d708af4cf47b453dcf7",
            "md5:e144d726b3acfaa3e44228e80efcd344",
            "md5:5c965bf0a639b31b8f53240b1b52f4d7",
            "md5:7320c461ea6c1c855c0b718fb2a4b134",
        ],
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),  # hiragana
    ),
}


NAMES = ("auto", "mnist", "digits", *(name for name in SOURCES if name != "mnist"))  # of the data sets that need no path


_NAMED = 4  # files of a folder, in an error


def cache_dir() -> Path:
    """Return the folder where downloads are kept."""
    with warnings.catch_warnings(action="ignore"):  # in notebooks, its unused progress bar warns of a missing widget
        import pooch

    return Path(pooch.os_cache("mnist-workbench"))


def find_arrays(source: Source, data_dir: str | Path | None) -> tuple[tuple[Images, Labels, Images, Labels], str]:
    """Search a folder that was given and no other; else MNIST_DATA_DIR, caches and mirrors, in that order.

    A damaged copy is an error and ends the search.
    """
    if data_dir:
        return _read_given(source, Path(data_dir))
    found, tried = _search(source, given_folder())
    if found:
        return found
    ours = cache_dir() / source.name
    try:
        mirror = _download(source, ours)
    except DataNotFoundError as error:
        fix = "Set MNIST_DATA_DIR to a folder with the four IDX files or mnist.npz, or use --dataset digits."
        if source.name != "mnist":
            fix = f"Put its four IDX files into a sub-folder {source.name} of the folder in MNIST_DATA_DIR."
        raise DataNotFoundError(f"{source.name} was not found in: {'; '.join(tried)}.\n{error}\n{fix}") from None
    arrays = _read_folder(source, ours)
    if not arrays:
        raise DataError(f"the files in {ours} were deleted after the download. Try again.")
    return arrays, mirror


def find_copy(name: str, *, data_dir: str | Path | None = None) -> str:
    """Return the location of a complete copy of a data set on this machine; empty if none was found. Downloads nothing.

    Parameters
    ----------
    name, data_dir
        See `load_dataset`; a name of `SOURCES`.

    Raises
    ------
    DataError
        If the copy is damaged, or a folder was given that has none (`DataNotFoundError`).
    """
    if data_dir:
        return _read_given(SOURCES[name], Path(data_dir))[1]
    found, _ = _search(SOURCES[name], given_folder())
    return found[1] if found else ""


def given_folder() -> Path | None:
    """Return the folder in MNIST_DATA_DIR; None if it is not set."""
    given = os.environ.get("MNIST_DATA_DIR")
    return Path(given) if given else None


def _places(source: Source, folder: Path) -> tuple[Path, ...]:
    return (folder / source.name, folder) if source.name == "mnist" else (folder / source.name,)


def _read_given(source: Source, folder: Path) -> tuple[tuple[Images, Labels, Images, Labels], str]:
    """Read the copy in a folder that a person named: another one would not be what was asked for."""
    for place in _places(source, folder):
        if found := _read_folder(source, place):
            return found, str(place)
    from mnist_utils.data.own import suggest_dataset  # imports the reader of pictures, which this module does without

    files = "the four IDX files (train-images-idx3-ubyte and so on, .gz or not)"
    fix = f"Give the folder that holds {files} or mnist.npz, or leave data_dir out."
    if source.name != "mnist":
        fix = f"Give the folder above {source.name}/, which holds {files}, or leave data_dir out."
    inside = sorted(path.parent for form in ("*", "*/*") for path in folder.glob(f"{form}/train-images?idx3-ubyte*"))
    deeper = [path for path in inside if not {path.name, path.parent.name} & (SOURCES.keys() - {"mnist"})]
    if deeper and source.name == "mnist":
        fix = f"Give --data-dir {deeper[0]}"
    elif own := suggest_dataset(folder):
        fix = f"For your own data: --dataset {own}"
    raise DataNotFoundError(f"data_dir: there is no {source.name} in {folder}, which {_describe_folder(folder)}.\n{fix}")


def _describe_folder(folder: Path) -> str:
    """Say what is in a folder."""
    if not folder.is_dir():
        return "is no folder" if folder.exists() else "does not exist"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    if len(names) > _NAMED:
        names = [*names[:_NAMED], f"{len(names) - _NAMED:,} more"]
    return f"holds {', '.join(names)}" if names else "is empty"


def _search(
    source: Source, folder: Path | None
) -> tuple[tuple[tuple[Images, Labels, Images, Labels], str] | None, list[str]]:
    """Search folder and caches; return the arrays with their location, or None, and the locations without a copy."""
    tried: list[str] = []
    if folder is not None:
        for place in _places(source, folder):
            if found := _read_folder(source, place):
                return (found, str(place)), tried
            tried.append(str(place))
    else:
        tried.append("no folder given (MNIST_DATA_DIR, --data-dir)")
    ours = cache_dir() / source.name
    # An interrupted download leaves some of the files: each is complete, and the others are downloaded later.
    if all(any(_candidates(ours, part.file)) for part in source.parts) and (found := _read_folder(source, ours)):
        return (found, str(ours)), tried
    tried.append(str(ours))
    keras_cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    if source.name == "mnist" and (keras_cache / "mnist.npz").is_file():
        return (read_npz(source, keras_cache / "mnist.npz"), str(keras_cache / "mnist.npz")), tried
    tried.append(str(keras_cache))
    return None, tried


def _read_folder(source: Source, folder: Path) -> tuple[Images, Labels, Images, Labels] | None:
    """Read the four files, or the .npz, in `folder`; None if it has none of them."""
    paths = [next(_candidates(folder, part.file), None) for part in source.parts]
    if not any(paths):
        packed = folder / f"{source.name}.npz"
        return read_npz(source, packed) if packed.is_file() else None
    missing = [part.file for part, path in zip(source.parts, paths, strict=True) if path is None]
    if missing:
        raise DataError(
            f"{folder} lacks {', '.join(missing)} (or .gz). Copy the missing files there, or give another folder."
        )
    arrays = [read_idx(part, path) for part, path in zip(source.parts, paths, strict=True) if path]
    return check_arrays(source, arrays, str(folder))


def _candidates(folder: Path, file: str) -> Iterator[Path]:
    for name in (file, f"{file}.gz", file.replace("-idx", ".idx")):  # the last: some archives unpack to this name
        if (folder / name).is_file():
            yield folder / name


def _download(source: Source, folder: Path) -> str:
    """Download the four packed files into `folder`; pooch checks each file's hash before it renames it into place."""
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
        except ValueError as error:  # what pooch raises for a wrong hash
            failures.append(f"{mirror}: {str(error).splitlines()[0]}")
        except OSError as error:
            raise DataNotFoundError(
                f"cannot write the download to {folder}: {error.strerror or error}. "
                "Set XDG_CACHE_HOME to a writable folder, or MNIST_DATA_DIR to the folder with the data."
            ) from None
    raise DataNotFoundError(f"Downloads failed: {'; '.join(failures)}.")


def _reason(error: Exception) -> str:
    """Return the innermost cause of a network error, in one short line."""
    while error.__context__ is not None and isinstance(error.__context__, Exception):
        error = error.__context__
    return f"{type(error).__name__}: {error}"[:120]
