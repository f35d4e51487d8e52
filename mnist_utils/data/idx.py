"""Files of images and labels: IDX and NPZ, read and checked."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_utils import MnistError
from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.classes import DIGITS

_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801  # IDX: unsigned bytes in three dimensions, in one


class DataError(MnistError):
    """A data set is missing, damaged or not the expected one."""


@dataclass(frozen=True)
class Part:
    """One IDX file of a data set: its name, item count, and the checksums of the .gz and of its content."""

    file: str
    count: int
    packed_hash: str
    content_sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set in MNIST's four files: train images, train labels, test images, test labels; and its classes' names."""

    name: str
    mirrors: tuple[str, ...]
    parts: tuple[Part, Part, Part, Part]
    classes: tuple[str, ...] = DIGITS


def read_idx(part: Part, path: Path) -> NDArray[np.uint8]:
    """Read one IDX file, gzipped or not; uint8, shape (n, 28, 28) or (n,)."""
    try:
        content = path.read_bytes()
        algorithm, _, expected = part.packed_hash.partition(":")
        known = part.content_sha256 or path.suffix != ".gz"  # the content is checked below, or has no published checksum
        if not known and hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() != expected:
            raise DataError(
                f"{path} is not the published file: its {algorithm.upper()} is not {expected}. "
                "Delete it or download it again."
            )
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip stream is incomplete. Delete it or download it again.") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Delete it or download it again.") from None
    images = "images" in part.file
    header, magic = (16, _IMAGES_MAGIC) if images else (8, _LABELS_MAGIC)
    if len(content) < header:
        raise DataError(
            f"{path} is truncated: {len(content)} bytes, no complete IDX header. Delete it or download it again."
        )
    fields = np.frombuffer(content[:header], ">u4")
    if fields[0] != magic:
        raise DataError(
            f"{path} is not an IDX file of {'images' if images else 'labels'}: magic {fields[0]:#x}, not {magic:#x}."
        )
    if images and tuple(fields[2:]) != (28, 28):
        raise DataError(f"{path} contains images of {fields[2]}x{fields[3]}, not 28x28.")
    size = int(fields[1]) * (784 if images else 1)
    if len(content) - header != size:
        word = "truncated" if len(content) - header < size else "too long"
        raise DataError(
            f"{path} is {word}: {len(content) - header} bytes of data, not {size} as in its header. "
            "Delete it or download it again."
        )
    array = np.frombuffer(content, np.uint8, offset=header)
    return array.reshape(-1, 28, 28) if images else array


def read_npz(source: Source, path: Path) -> tuple[Images, Labels, Images, Labels]:
    """Read the four arrays of ``mnist.npz``: training images and labels, test images and labels."""
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = [archive[name] for name in names]
    except KeyError as error:
        raise DataError(f"{path} has no array {error}; needed: {', '.join(names)}.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Delete it or download it again.") from None
    return check_arrays(source, arrays, str(path))


def check_arrays(source: Source, arrays: list[NDArray[np.uint8]], where: str) -> tuple[Images, Labels, Images, Labels]:
    """Raise `DataError` unless counts, labels and, where known, the content's SHA-256 are correct."""
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
                    f"{where}: {part.file} is not that of {source.name}: the SHA-256 of its content is "
                    f"{digest.hexdigest()[:12]}..., not {part.content_sha256[:12]}.... Delete it or download it again."
                )
    x_train, y_train, x_test, y_test = arrays
    return x_train, y_train, x_test, y_test
