from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_utils._support import files


def test_writes_and_replaces(tmp_path: Path) -> None:
    files.write_text_atomic(tmp_path / "a.txt", "one")
    files.write_text_atomic(tmp_path / "a.txt", "zwölf")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "zwölf"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    files.write_text_atomic(tmp_path / "a.txt", "whole")
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(tmp_path / "a.txt", fail)
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_keeps_the_suffix_while_writing(tmp_path: Path) -> None:
    seen = []

    def save(path: Path) -> None:
        seen.append(path)
        path.write_text("x")

    files.write_atomic(tmp_path / "model.keras", save)
    assert seen[0].suffix == ".keras"
    assert seen[0].parent == tmp_path


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.txt", []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_text_atomic(path, "seven b")
    assert synced == [(7, False)]
    assert path.read_text() == "seven b"
