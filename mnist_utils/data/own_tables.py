"""Your own data as numbers: CSV, NPZ and IDX files -> labelled images."""

from __future__ import annotations

import gzip
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images
from mnist_utils.data.idx import DataError

MOST_CLASSES = 100
PARTS = "train", "test"
Labelled = tuple[Images, list[str]]
_SIDE = 28
_LABEL_COLUMNS = {"label", "labels", "class", "target", "digit", "y"}


def check_count(path: Path, classes: int, least: int) -> None:
    """Refuse data of too few or too many classes.

    Raises
    ------
    DataError
        Says how many there are.
    """
    if not least <= classes <= MOST_CLASSES:
        hint = "; is the label the first column?" if classes == 1 and ".csv" in path.name else ""
        raise DataError(
            f"dataset: {path} has {classes} class{'' if classes == 1 else 'es'}; allowed: {least} to {MOST_CLASSES}{hint}"
        )


def as_images(array: NDArray[Any], where: str) -> Images:
    """Check images of any size and type; return them as 28x28 in whole grey levels, colour as grey.

    Raises
    ------
    DataError
        If they are no images; `where` they were found begins the message.
    """
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    colour = array.ndim == 4 and array.shape[3] == 3
    if not (array.ndim == 3 or colour) or array.shape[0] == 0 or min(array.shape[1:3]) < 2:
        wanted = "(n, height, width), or (n, height, width, 3) of colours, n > 0"
        raise DataError(f"dataset: {where} has shape {array.shape}; wanted {wanted}")
    if array.dtype.kind not in "uifb" or not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise DataError(f"dataset: {where} holds other values than numbers from 0 to 255")
    if array.max() <= 1:  # from 0 to 1, or black and white
        array = array * 255.0
    if colour:  # weights of ITU-R BT.601, as of pictures
        array = np.stack([cv2.cvtColor(one.astype(np.float32), cv2.COLOR_RGB2GRAY) for one in array])
    array = np.round(array).astype(np.uint8)
    return array if array.shape[1:] == (_SIDE, _SIDE) else np.stack([resize(one) for one in array])


def resize(image: Images) -> Images:
    """Resize a grey image to 28x28; one that is not square is stretched."""
    shrinks = max(image.shape) > _SIDE
    resized = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def label_text(label: object) -> str:
    """Write a label as text; a whole number as such, whatever the file made of it."""
    text = str(label).strip()
    try:
        return (
            str(int(float(text))) if re.fullmatch(r"\d+(\.\d*)?(e[+-]?\d+)?", text, re.I) and float(text) % 1 == 0 else text
        )
    except OverflowError:
        return text


# --- CSV ------------------------------------------------------------------------------------------------------


def read_csv(path: Path) -> Labelled:
    """Read a CSV of labels and pixels, see `read_pixel_rows`."""
    return read_pixel_rows(path, labelled=True)


def read_pixel_rows(path: Path, *, labelled: bool) -> Labelled:
    """Read a CSV of 784 pixels a row, with a label or without one, with a header or without.

    The label comes first, or in the column that the header calls so.

    Raises
    ------
    DataError
        Names the row that is wrong, the first one being 1.
    """
    import pandas as pd

    first, rows = _check_columns(path, labelled)
    header = None if all(map(_is_number, first[labelled:])) and not _numbers_columns(first) else 0
    at = _label_column(path, first) if labelled and header == 0 else 0
    try:
        table = pd.read_csv(path, header=header, dtype=str if labelled else None, index_col=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"dataset: {path} is damaged: {str(error).splitlines()[0]}") from None
    rows = rows[header == 0 :]
    named = table.iloc[:, at] if labelled else None
    pixels = table.drop(columns=table.columns[at]) if labelled else table
    values = pixels.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~((values >= 0) & (values <= 255)).all(axis=1)
    if wrong.any():
        raise DataError(f"dataset: {path}, row {rows[int(wrong.argmax())]}: a pixel is not a number from 0 to 255")
    labels = [] if named is None else ["" if pd.isna(label) else label_text(label) for label in named]
    if "" in labels:
        raise DataError(f"dataset: {path}, row {rows[labels.index('')]}: no label")
    if not len(values):
        raise DataError(f"dataset: {path} has a header and no rows")
    if values.max() <= 1:  # pixels from 0 to 1, of which the largest of any picture in 0 to 255 would be nearly black
        values = values * 255
    return values.round().astype(np.uint8).reshape(-1, _SIDE, _SIDE), labels


def _check_columns(path: Path, labelled: bool) -> tuple[list[str], list[int]]:
    """Count the columns of every row; return the first row's cells, and the number of each row that is not empty."""
    wanted, first, rows = _SIDE**2 + labelled, list[str](), list[int]()
    try:
        with _open_text(path) as file:
            for row, line in enumerate(file, 1):
                if not line.strip():
                    continue
                columns = line.count(",") + 1
                if not rows:
                    first = [cell.strip().strip('"').strip() for cell in line.split(",")]
                    if columns == _SIDE**2 and labelled:
                        raise DataError(
                            f"dataset: {path} has 784 columns and so no labels; mnist predict --submission predicts it"
                        )
                    if columns != wanted:
                        raise DataError(
                            f"dataset: {path} has {columns} columns; wanted {'a label and ' * labelled}784 pixels, "
                            "with commas between"
                        )
                elif columns != wanted:  # pandas would fill a short one, and take a long one's first cell for its name
                    raise DataError(f"dataset: {path}, row {row}: {columns} columns; the first row has {wanted}")
                rows.append(row)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"dataset: {path} cannot be read: {error}") from None
    if not rows:
        raise DataError(f"dataset: {path} is empty")
    return first, rows


def _open_text(path: Path) -> IO[str]:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")  # spreadsheets put a mark before the first cell


def _numbers_columns(first: list[str]) -> bool:
    """Say whether a first row is the numbers of the columns, as pandas writes them, rather than pixels."""
    return first[-(_SIDE**2) :] in ([str(at) for at in range(_SIDE**2)], [str(at) for at in range(1, _SIDE**2 + 1)])


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _label_column(path: Path, header: list[str]) -> int:
    """Say which column holds the label: the one of such a name, otherwise the first."""
    named = [at for at, name in enumerate(header) if name.lower() in _LABEL_COLUMNS]
    if len(named) == 1:
        return named[0]
    if named or re.fullmatch(r"(pixel|px|p|x|v)?[ _]?\d+(x\d+)?", header[0].lower()):
        found = f"{len(named)} columns of labels" if named else f"first the column {header[0]!r} and none called label"
        raise DataError(f"dataset: {path} has {found}; wanted one column called label")
    return 0


# --- NPZ ------------------------------------------------------------------------------------------------------


def read_npz(path: Path) -> dict[str, Labelled]:
    """Read ``x_train``, ``y_train`` and perhaps ``x_test``, ``y_test``.

    Raises
    ------
    DataError
        Names the array that is wrong.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"dataset: {path} is damaged: {error}") from None
    parts = {}
    for part in PARTS:
        if f"x_{part}" in arrays and f"y_{part}" in arrays:
            images, labels = as_images(arrays[f"x_{part}"], f"{path}: x_{part}"), arrays[f"y_{part}"].ravel()
            if len(images) != len(labels):
                raise DataError(f"dataset: {path} has {len(images)} images and {len(labels)} labels in its {part} part")
            parts[part] = images, [label_text(label) for label in labels.tolist()]
    if "train" not in parts:
        raise DataError(f"dataset: {path} holds {', '.join(arrays)}; wanted x_train, y_train, and perhaps x_test, y_test")
    return parts


# --- IDX ------------------------------------------------------------------------------------------------------


def read_idx_folder(path: Path) -> dict[str, Labelled] | None:
    """Read IDX files; None if there are none. torchvision keeps MNIST's in ``MNIST/raw``.

    Raises
    ------
    DataError
        Names the file that is wrong.
    """
    folder = next((place for place in (path, path / "raw", path / "MNIST" / "raw") if idx_images(place)), None)
    if folder is None:
        return None
    parts = {}
    for file in idx_images(folder):
        beside = file.name.replace("images", "labels").replace("idx3", "idx1")
        names = beside, beside.removesuffix(".gz"), f"{beside}.gz"
        labels_file = next((folder / name for name in names if (folder / name).is_file()), None)
        if labels_file is None:
            raise DataError(f"dataset: {folder} lacks {beside}, the labels of {file.name}")
        images, labels = as_images(_read_idx(file, 3), str(file)), _read_idx(labels_file, 1)
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
    return parts


def idx_images(folder: Path) -> list[Path]:
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
    if len(content) < header or fields[0] != 0x800 + axes:
        raise DataError(f"dataset: {path} is no IDX file of {'images' if axes == 3 else 'labels'}")
    shape = tuple(int(side) for side in fields[1:])
    if len(content) - header != int(np.prod(shape, dtype=object)):
        stated = " x ".join(map(str, shape))
        raise DataError(f"dataset: {path} has {len(content) - header:,} bytes after its header, which says {stated}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
