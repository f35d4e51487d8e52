from __future__ import annotations

import gzip
import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_utils import ConfigError, MnistError
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.data.idx import DataError, Part, Source
from mnist_utils.data.sources import NAMES, SOURCES, DataNotFoundError, cache_dir, find_copy
from mnist_utils.preprocessing.center import center_digit

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
COUNTS = (300, 300, 100, 100)


def idx(array: NDArray[np.uint8]) -> bytes:
    """Write the format from its description, independently of the reader."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape) + array.tobytes()


@pytest.fixture
def arrays() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (300, 100)]
    labels = [(np.arange(n) % 10).astype(np.uint8) for n in (300, 100)]
    return [images[0], labels[0], images[1], labels[1]]


@pytest.fixture
def folder(tmp_path: Path, arrays: list[NDArray[np.uint8]]) -> Path:
    """Create a small "MNIST" of .gz files."""
    folder = tmp_path / "mnist-files"
    folder.mkdir()
    for file, array in zip(FILES, arrays, strict=True):
        (folder / f"{file}.gz").write_bytes(gzip.compress(idx(array)))
    return folder


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch: pytest.MonkeyPatch, folder: Path, arrays: list[NDArray[np.uint8]]) -> None:
    """Make the loader expect the small one, with a mirror that refuses connections."""
    parts = []
    for file, count, array in zip(FILES, COUNTS, arrays, strict=True):
        packed = hashlib.sha256((folder / f"{file}.gz").read_bytes()).hexdigest()
        parts.append(Part(file, count, f"sha256:{packed}", hashlib.sha256(idx(array)).hexdigest()))
    source = Source("mnist", ("http://127.0.0.1:9/",), (parts[0], parts[1], parts[2], parts[3]))
    monkeypatch.setitem(SOURCES, "mnist", source)


def use_mirrors(monkeypatch: pytest.MonkeyPatch, *mirrors: str) -> None:
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], mirrors=mirrors))


def check_is_small_mnist(dataset: Dataset, arrays: list[NDArray[np.uint8]]) -> None:
    assert dataset.name == "mnist"
    assert dataset.note == ""
    np.testing.assert_array_equal(dataset.x_test, arrays[2])
    np.testing.assert_array_equal(dataset.y_test, arrays[3])
    together = np.concatenate([dataset.x_train, dataset.x_validation])
    assert sorted(image.tobytes() for image in together) == sorted(image.tobytes() for image in arrays[0])


# --- sources ---


@pytest.mark.parametrize("form", ["gz", "plain", "dotted", "npz", "subfolder"])
def test_reads_a_folder_in_every_usual_form(form: str, folder: Path, arrays: list[NDArray[np.uint8]]) -> None:
    if form in ("plain", "dotted"):
        for file in FILES:
            name = file if form == "plain" else file.replace("-idx", ".idx")
            (folder / name).write_bytes(gzip.decompress((folder / f"{file}.gz").read_bytes()))
            (folder / f"{file}.gz").unlink()
    elif form == "npz":
        shutil.rmtree(folder)
        folder.mkdir()
        np.savez_compressed(folder / "mnist.npz", x_train=arrays[0], y_train=arrays[1], x_test=arrays[2], y_test=arrays[3])
    elif form == "subfolder":
        shutil.move(folder, folder.parent / "mnist")
        folder = folder.parent
    check_is_small_mnist(load_dataset("mnist", data_dir=folder), arrays)


def test_reads_the_folder_named_by_the_environment(
    folder: Path, arrays: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", str(folder))
    check_is_small_mnist(load_dataset("auto"), arrays)


def test_finds_keras_cache(arrays: list[NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    cache = tmp_path / "keras" / "datasets"
    cache.mkdir(parents=True)
    np.savez(cache / "mnist.npz", x_train=arrays[0], y_train=arrays[1], x_test=arrays[2], y_test=arrays[3])
    dataset = load_dataset("mnist")
    check_is_small_mnist(dataset, arrays)
    assert dataset.source == str(cache / "mnist.npz")


def test_split_is_stratified_disjoint_and_the_same_every_time(folder: Path) -> None:
    first, second = (load_dataset("mnist", data_dir=folder, validation_fraction=0.2) for _ in range(2))
    np.testing.assert_array_equal(first.x_validation, second.x_validation)
    assert np.bincount(first.y_validation).tolist() == [6] * 10
    assert np.bincount(first.y_train).tolist() == [24] * 10
    assert not {image.tobytes() for image in first.x_train} & {image.tobytes() for image in first.x_validation}


def test_train_limit_keeps_the_validation_and_test_sets(folder: Path) -> None:
    unlimited, limited = load_dataset("mnist", data_dir=folder), load_dataset("mnist", data_dir=folder, train_limit=100)
    assert np.bincount(limited.y_train).tolist() == [10] * 10
    np.testing.assert_array_equal(limited.x_validation, unlimited.x_validation)
    np.testing.assert_array_equal(limited.x_test, unlimited.x_test)
    with pytest.raises(DataError, match=r"train_limit: given 1000; allowed: .*270"):
        load_dataset("mnist", data_dir=folder, train_limit=1000)


def test_unknown_name() -> None:
    with pytest.raises(DataError, match=f"given 'cifar'; allowed: {', '.join(NAMES)}, or a path"):
        load_dataset("cifar")


# --- damaged copies: each is a clear error ---


def test_missing_file(folder: Path) -> None:
    (folder / f"{FILES[1]}.gz").unlink()
    with pytest.raises(DataError, match=f"lacks {FILES[1]}"):
        load_dataset("mnist", data_dir=folder)


def test_truncated_gzip(folder: Path) -> None:
    path = folder / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=f"{FILES[0]}.gz is truncated.*download it again"):
        load_dataset("mnist", data_dir=folder)


@pytest.mark.parametrize("keep", [3, 4000])
def test_truncated_plain_file(folder: Path, arrays: list[NDArray[np.uint8]], keep: int) -> None:
    (folder / FILES[0]).write_bytes(idx(arrays[0])[:keep])
    with pytest.raises(DataError, match=f"{FILES[0]} is truncated"):
        load_dataset("mnist", data_dir=folder)


def test_too_long_file(folder: Path, arrays: list[NDArray[np.uint8]]) -> None:
    (folder / FILES[0]).write_bytes(idx(arrays[0]) + b"x")
    with pytest.raises(DataError, match=r"too long: 235201 bytes .*235200"):
        load_dataset("mnist", data_dir=folder)


def test_flipped_bit_in_the_content(folder: Path, arrays: list[NDArray[np.uint8]]) -> None:
    content = bytearray(idx(arrays[2]))
    content[5000] ^= 1
    (folder / f"{FILES[2]}.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(DataError, match=f"{FILES[2]} .*SHA-256"):
        load_dataset("mnist", data_dir=folder)


def test_flipped_bit_in_the_gzip_stream(folder: Path) -> None:
    path = folder / f"{FILES[2]}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{FILES[2]}.gz"):
        load_dataset("mnist", data_dir=folder)


def test_wrong_magic(folder: Path, arrays: list[NDArray[np.uint8]]) -> None:
    (folder / FILES[0]).write_bytes(idx(arrays[1]) + bytes(20))
    with pytest.raises(DataError, match="magic 0x801, not 0x803"):
        load_dataset("mnist", data_dir=folder)


def test_wrong_size_of_image(folder: Path) -> None:
    (folder / FILES[0]).write_bytes(idx(np.zeros((4, 32, 32), np.uint8)))
    with pytest.raises(DataError, match="32x32, not 28x28"):
        load_dataset("mnist", data_dir=folder)


def test_wrong_count(folder: Path, arrays: list[NDArray[np.uint8]]) -> None:
    (folder / FILES[0]).write_bytes(idx(arrays[0][:200]))
    with pytest.raises(DataError, match=r"shape \(200, 28, 28\) of uint8, not \(300, 28, 28\)"):
        load_dataset("mnist", data_dir=folder)


def test_label_out_of_range(folder: Path, arrays: list[NDArray[np.uint8]]) -> None:
    labels = arrays[1].copy()
    labels[7] = 10
    (folder / FILES[1]).write_bytes(idx(labels))
    with pytest.raises(DataError, match="label 10 at index 7"):
        load_dataset("mnist", data_dir=folder)


@pytest.mark.parametrize("damage", ["text", "truncated", "missing array", "pickle"])
def test_damaged_npz(damage: str, tmp_path: Path, arrays: list[NDArray[np.uint8]]) -> None:
    path = tmp_path / "mnist.npz"
    if damage == "text":
        path.write_text("this is not a zip file")
    elif damage == "missing array":
        np.savez(path, x_train=arrays[0])
    else:
        first = np.array([{}], dtype=object) if damage == "pickle" else arrays[0]
        np.savez(path, x_train=first, y_train=arrays[1], x_test=arrays[2], y_test=arrays[3])
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"mnist.npz (is damaged|has no array)"):
        load_dataset("mnist", data_dir=tmp_path)


def test_auto_does_not_hide_a_damaged_copy(folder: Path) -> None:
    (folder / f"{FILES[0]}.gz").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(DataError, match=FILES[0]):
        load_dataset("auto", data_dir=folder)


# --- downloads ---


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serve a folder; break off in the middle of the file named in `broken`."""

    broken = ""

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        content = source.read()
        if self.path.endswith(self.broken) and self.broken:
            content = content[: len(content) // 2]
        outputfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def cached() -> list[str]:
    return sorted(path.name for path in cache_dir().rglob("*") if path.is_file())


def test_downloads_then_needs_no_network(
    mirror: str, arrays: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_mirrors(monkeypatch, "http://127.0.0.1:9/", mirror)  # the first is dead
    dataset = load_dataset("mnist")
    check_is_small_mnist(dataset, arrays)
    assert dataset.source == mirror
    assert cached() == sorted(f"{file}.gz" for file in FILES)
    use_mirrors(monkeypatch, "http://127.0.0.1:9/")
    check_is_small_mnist(load_dataset("mnist"), arrays)


def test_a_download_that_breaks_leaves_nothing_half_written(
    mirror: str, arrays: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_mirrors(monkeypatch, mirror)
    monkeypatch.setattr(Mirror, "broken", f"{FILES[2]}.gz")
    with pytest.raises(DataNotFoundError, match="Downloads failed"):
        load_dataset("mnist")
    assert cached() == sorted(f"{file}.gz" for file in FILES[:2])  # complete and checked
    monkeypatch.setattr(Mirror, "broken", "")
    check_is_small_mnist(load_dataset("mnist"), arrays)


def test_a_mirror_with_another_file_is_rejected(mirror: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_mirrors(monkeypatch, mirror)
    (folder / f"{FILES[0]}.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataNotFoundError, match="hash"):
        load_dataset("mnist")
    assert cached() == []


def test_cache_that_cannot_be_written(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_mirrors(monkeypatch, mirror)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # even root cannot make a folder in a file
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        load_dataset("mnist")


def test_no_network_names_all_that_was_tried_and_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "empty"))
    with pytest.raises(DataNotFoundError) as error:
        load_dataset("mnist")
    for part in (
        str(tmp_path / "empty"),
        str(cache_dir()),
        ".keras",
        "127.0.0.1:9",
        "Set MNIST_DATA_DIR",
        "--dataset digits",
    ):
        assert part in str(error.value)
    assert len(str(error.value).splitlines()) == 3


def test_auto_falls_back_to_digits_and_says_so() -> None:
    dataset = load_dataset("auto")
    assert dataset.name == "digits"
    assert dataset.note.startswith("MNIST is not available")
    assert "`digits`" in dataset.note


def test_auto_names_the_folder_of_the_environment_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", "/typo")
    assert "MNIST_DATA_DIR=/typo" in load_dataset("auto").note


# --- a folder that is named by hand is the only one ---


@pytest.mark.parametrize("name", ["auto", "mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize("what", ["nothing", "empty", "other", "file"])
def test_a_given_folder_without_the_data_is_an_error_whatever_is_elsewhere(
    name: str, what: str, mirror: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_mirrors(monkeypatch, mirror)
    shutil.copytree(folder, cache_dir() / "mnist")
    given, words = (
        tmp_path / "given",
        {"nothing": "does not exist", "empty": "is empty", "file": "is no folder"}.get(what, ""),
    )
    if what == "file":
        given.touch()
    elif what != "nothing":
        given.mkdir()
    if what == "other":
        for file in "a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt":
            (given / file).touch()
        words = "holds a.txt, b.txt, c.txt, d.txt, 2 more"
    with pytest.raises(DataNotFoundError) as error:
        load_dataset(name, data_dir=given)
    kind = "mnist" if name == "auto" else name
    first, second = str(error.value).split("\n")
    assert first == f"data_dir: there is no {kind} in {given}, which {words}."
    assert second.startswith("Give the folder " + ("that holds" if kind == "mnist" else f"above {kind}/"))
    assert second.endswith("or leave data_dir out.")
    assert load_dataset("mnist").source == str(cache_dir() / "mnist")


@pytest.mark.parametrize("name", ["auto", "kmnist", "digits"])
def test_a_given_folder_of_ones_own_data_is_told_how_to_be_given(name: str, tmp_path: Path) -> None:
    for kind in "circle", "square":
        (tmp_path / "shapes" / kind).mkdir(parents=True)
        (tmp_path / "shapes" / kind / "1.png").touch()
    with pytest.raises(MnistError, match=rf"data_dir: .*shapes.*\n.*: --dataset {tmp_path}/shapes$"):
        load_dataset(name, data_dir=tmp_path / "shapes")


def test_a_folder_above_the_right_one_is_told_the_right_one(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"  # as torchvision has it
    raw.mkdir(parents=True)
    (tmp_path / "kmnist").mkdir()
    for folder in raw, tmp_path / "kmnist":
        (folder / "train-images-idx3-ubyte.gz").touch()
    with pytest.raises(DataNotFoundError, match=f"Give --data-dir {raw}$"):
        load_dataset("mnist", data_dir=tmp_path)


def test_a_folder_is_refused_for_data_that_are_in_none(folder: Path, tmp_path: Path) -> None:
    message = r"given .* with the data set digits, which is scikit-learn's and in no folder\.\nLeave data_dir out"
    with pytest.raises(ConfigError, match=message):
        load_dataset("digits", data_dir=tmp_path / "nosuch")
    with pytest.raises(ConfigError, match=r"with the data set .*x\.csv, which is a path already\.\nLeave data_dir out"):
        load_dataset(str(tmp_path / "x.csv"), data_dir=folder)


@pytest.mark.parametrize("there", [True, False])
def test_find_copy_looks_into_a_given_folder_only(there: bool, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, cache_dir() / "mnist")
    if there:
        assert find_copy("mnist", data_dir=folder) == str(folder)
        return
    with pytest.raises(DataNotFoundError, match="there is no mnist in"):
        find_copy("mnist", data_dir=tmp_path / "nosuch")
    assert find_copy("mnist") == str(cache_dir() / "mnist")


def test_auto_takes_digits_where_the_cache_cannot_be_written(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_mirrors(monkeypatch, mirror)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_dataset("auto").name == "digits"


def test_a_validation_set_without_room_for_each_digit(folder: Path) -> None:
    with pytest.raises(DataError, match=r"validation_fraction: given 0.01; allowed .*0.034"):
        load_dataset("mnist", data_dir=folder, validation_fraction=0.01)


@pytest.mark.parametrize("limit", [250, 260, 261, 269, 270])
def test_train_limit_is_exact(folder: Path, limit: int) -> None:
    assert len(load_dataset("mnist", data_dir=folder, train_limit=limit).x_train) == limit


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_a_packed_file_of_another_data_set_is_rejected(name: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / name)
    with pytest.raises(DataError, match=f"{FILES[0]}.gz .*MD5"):
        load_dataset(name, data_dir=tmp_path)


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_the_other_data_sets_do_not_use_the_files_of_mnist(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, name, replace(SOURCES["mnist"], name=name))
    with pytest.raises(DataNotFoundError, match=name):
        load_dataset(name, data_dir=folder)
    shutil.copytree(folder, folder / name)
    assert load_dataset(name, data_dir=folder).name == name


# --- digits ---


def test_digits_is_embedded_and_centred_as_mnist() -> None:
    dataset = load_dataset("digits")
    assert (len(dataset.x_train), len(dataset.x_validation), len(dataset.x_test)) == (1293, 144, 360)
    images = np.concatenate([dataset.x_train, dataset.x_validation, dataset.x_test])
    assert images.dtype == np.uint8
    assert images.shape == (1797, 28, 28)
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    centres = np.stack([weights.sum(axis=2) @ np.arange(28), weights.sum(axis=1) @ np.arange(28)])
    # Half a pixel, as in MNIST, except for the few whose box would leave the image.
    assert (np.abs(centres - 14) <= 0.51).mean() > 0.99


def test_center_digit_centres_the_mass_of_a_box_of_20() -> None:
    ink = np.zeros((50, 70))
    ink[5:45, 60:64] = 1  # 40 high, 4 wide
    placed = center_digit(ink)
    rows, columns = np.flatnonzero(placed.any(axis=1)), np.flatnonzero(placed.any(axis=0))
    assert (rows[0], rows[-1]) == (4, 23)  # mass at 13.5, as near to 14 as whole pixels allow
    assert (columns[0], columns[-1]) == (14, 15)  # and at 14.5
    assert placed.max() == 255


def test_center_digit_keeps_the_box_inside() -> None:
    ink = np.zeros((20, 20))
    ink[0] = 0.01  # a faint line far from the mass
    ink[19] = 1
    placed = center_digit(ink)
    assert placed.shape == (28, 28)
    assert np.flatnonzero(placed.any(axis=1))[-1] <= 27


# --- the real MNIST ---


@pytest.mark.mnist
def test_the_real_mnist(real_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    dataset = load_dataset("mnist", data_dir=real_mnist)
    assert (len(dataset.x_train), len(dataset.x_validation), len(dataset.x_test)) == (54_000, 6_000, 10_000)
    assert np.bincount(dataset.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (
        np.bincount(np.concatenate([dataset.y_train, dataset.y_validation])).tolist()
        == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    )  # fmt: skip
