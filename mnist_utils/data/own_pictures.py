"""Your own pictures: folders of them, or a Parquet file -> labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_utils._support.arrays import Images
from mnist_utils.data.idx import DataError
from mnist_utils.data.own_tables import PARTS, Labelled, check_count, label_text, resize
from mnist_utils.preprocessing.decode import SUFFIXES, ImageError, decode_picture
from mnist_utils.preprocessing.ink import to_grey
from mnist_utils.preprocessing.reader import preprocess

Done = Callable[[int, int], None]  # told which picture was read, from 1, of how many
_LIGHT = 127  # the mean of an image above which it is rather black on white


@dataclass(frozen=True)
class Picture:
    """A picture before it is read.

    Attributes
    ----------
    part : {"train", "test"}
    label : str
    name : str
        Where in the data it is.
    content : Path or bytes
        The file, or what is in it.
    """

    part: str
    label: str
    name: str
    content: Path | bytes


def picture_files(folder: Path) -> list[Path]:
    """List the pictures in a folder, by their names' ends, in order."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != ".")


def class_folders(folder: Path) -> list[Path]:
    """List the folders in a folder, without hidden ones, in order."""
    return sorted(inside for inside in folder.iterdir() if inside.is_dir() and inside.name[0] != ".")


def find_pictures(path: Path, least: int) -> list[Picture]:
    """List the pictures in a folder of folders, of at least so many classes; none if there is no folder in it.

    Raises
    ------
    DataError
        Names the folder that is wrong.
    """
    inside = {folder.name.lower(): folder for folder in class_folders(path)}
    parts = {part: inside[part] for part in PARTS} if set(PARTS) <= set(inside) else {"train": path}
    found = []
    for part, above in parts.items():
        for folder in class_folders(above):
            files = picture_files(folder)
            if not files:
                raise DataError(f"dataset: class {folder.name} has no picture in {folder}; read are {', '.join(SUFFIXES)}")
            found += [Picture(part, folder.name, str(file.relative_to(path)), file) for file in files]
        if "test" in parts and not class_folders(above):
            raise DataError(f"dataset: {above} holds no folder of pictures for each class")
    labels = {part: {one.label for one in found if one.part == part} for part in parts}
    if found:
        check_count(path, len(set().union(*labels.values())), least)  # before the time that reading takes
    if "test" in parts and (missing := labels["test"] - labels["train"]):
        raise DataError(f"dataset: {path}: class {min(missing)} is in test and not in train")
    return found


def describe_unread(path: Path, found: list[Picture]) -> str:
    """Name the folders beside ``train`` and ``test`` that are not read; empty if there is none."""
    if not any(one.part == "test" for one in found):
        return ""
    read = {one.name.split("/")[0] for one in found}
    unread = [folder.name for folder in class_folders(path) if folder.name not in read]
    return f"not read: {', '.join(unread)}; validation images are taken from the training images" if unread else ""


def find_encoded(path: Path) -> list[Picture]:
    """List the pictures in a Parquet file with the columns ``image`` and ``label``.

    Raises
    ------
    DataError
        Names the row that is wrong, the first one being 0, as pandas counts.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise DataError(f"dataset: {path} needs pyarrow; install it: pip install pyarrow") from None
    except (OSError, ValueError) as error:
        raise DataError(f"dataset: {path} is damaged: {str(error).splitlines()[0]}") from None
    if not {"image", "label"} <= set(table):
        raise DataError(f"dataset: {path} has the columns {', '.join(map(str, table))}; wanted image and label")
    if table.empty:
        raise DataError(f"dataset: {path} has no rows")
    if (lacking := table["label"].isna()).any():
        raise DataError(f"dataset: {path}, row {int(lacking.to_numpy().argmax())}: no label")
    rows = zip(table["label"], table["image"], strict=True)
    return [Picture("train", label_text(label), f"row {row}", _encoded(one)) for row, (label, one) in enumerate(rows)]


def _encoded(cell: Any) -> bytes:
    """Take a picture's file out of a cell; Hugging Face puts it beside its path."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else b""


def decode_image(picture: Path | bytes) -> Images:
    """Decode a picture and resize it to 28x28, grey, with nothing else done to it.

    Parameters
    ----------
    picture : Path or bytes
        See `preprocessing.decode.decode_picture`; taken for white on black.

    Raises
    ------
    ImageError
        If it is missing, too large or damaged.
    """
    return resize(np.round(255 * to_grey(decode_picture(picture))).astype(np.uint8))


def read_pictures(
    path: Path, found: list[Picture], *, raw: bool = False, skip_unreadable: bool = False, done: Done | None = None
) -> tuple[dict[str, Labelled], str]:
    """Read pictures.

    Parameters
    ----------
    path : Path
        The data that they are from.
    found : list of Picture
        At least one.
    raw : bool
        Whether they are only decoded (`decode_image`), not read by `preprocess`.
    skip_unreadable : bool
        Whether those that cannot be read are left out.
    done : callable, optional
        Told after each picture.

    Returns
    -------
    parts : dict
        Images and labels of each part.
    note : str
        Which were left out, and what `raw` took for granted.

    Raises
    ------
    DataError
        Names the picture that cannot be read, or the class of which none can.
    """
    images: dict[str, list[Images]] = {one.part: [] for one in found}
    labels: dict[str, list[str]] = {one.part: [] for one in found}
    left_out: list[tuple[Picture, str]] = []
    for at, one in enumerate(found, 1):
        try:
            image = decode_image(one.content) if raw else preprocess(one.content).image
        except ImageError as error:
            if not skip_unreadable:
                where = one.content if isinstance(one.content, Path) else f"{path}, {one.name}"
                raise DataError(f"dataset: {where}: {error}; --skip-unreadable leaves such pictures out") from None
            left_out.append((one, str(error)))
        else:
            images[one.part].append(image)
            labels[one.part].append(one.label)
        if done:
            done(at, len(found))
    for one, why in left_out:
        if one.label not in labels[one.part]:
            raise DataError(
                f"dataset: {path}: no picture of class {one.label} in its {one.part} part can be read; "
                f"the first, {one.name}: {why}"
            )
    notes = [_describe_left_out(left_out, len(found))] if left_out else []
    notes += [_describe_raw(np.concatenate([np.stack(part) for part in images.values()]))] if raw else []
    return {part: (np.stack(images[part]), labels[part]) for part in images}, "; ".join(notes)


def _describe_left_out(left_out: list[tuple[Picture, str]], n: int) -> str:
    first, why = left_out[0]
    return f"{len(left_out):,} of {n:,} pictures cannot be read and were left out, the first: {first.name} ({why})"


def _describe_raw(images: Images) -> str:
    light = int((images.mean(axis=(1, 2)) > _LIGHT).sum())
    doubt = f", but {light:,} of {len(images):,} are mostly light" if 2 * light > len(images) else ""
    return f"the pictures are raw: resized, and taken for white on black{doubt}"
