"""docker/copy-notebooks: a person's copies are theirs, and the originals come back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import CLONE

SCRIPT = CLONE / "docker" / "copy-notebooks"


class Desk:
    """A clone with two notebooks, and a person's folder."""

    def __init__(self, path: Path) -> None:
        self.originals, self.work = path / "clone" / "notebooks", path / "work"
        self.originals.mkdir(parents=True)
        self.work.mkdir()
        (self.originals.parent / "docker").mkdir()
        self.script = shutil.copy(SCRIPT, self.originals.parent / "docker")
        self.copies = self.work / "notebooks"
        for name in "01.ipynb", "02.ipynb", "README.md":
            (self.originals / name).write_text(f"{name}, first")

    def copy(self, folder: Path | None = None, **environment: str) -> str:
        command, variables = [sys.executable, self.script], {"PATH": os.environ["PATH"], **environment}
        done = subprocess.run(command, cwd=folder or self.work, env=variables, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.copies.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_copies_all_then_nothing(desk: Desk) -> None:
    assert desk.copy() == f"{desk.copies}: copied 01.ipynb, 02.ipynb, README.md\n"
    assert desk.texts() == {name: f"{name}, first" for name in ("01.ipynb", "02.ipynb", "README.md")}
    assert desk.copy() == ""


def test_what_was_changed_stays_and_what_was_not_is_renewed(desk: Desk) -> None:
    desk.copy()
    (desk.copies / "01.ipynb").write_text("mine")
    (desk.copies / "own.ipynb").write_text("mine, too")
    for name in "01.ipynb", "02.ipynb":
        (desk.originals / name).write_text(f"{name}, second")
    said = desk.copy()
    assert said == (
        f"{desk.copies}: copied 02.ipynb\n"
        f"{desk.copies}: kept your 01.ipynb, though the original is newer; rename yours to get it\n"
    )
    texts = {"01.ipynb": "mine", "own.ipynb": "mine, too", "02.ipynb": "02.ipynb, second", "README.md": "README.md, first"}
    assert desk.texts() == texts


def test_what_was_deleted_or_renamed_comes_back(desk: Desk) -> None:
    desk.copy()
    (desk.copies / "01.ipynb").rename(desk.copies / "01 mine.ipynb")
    (desk.copies / "02.ipynb").unlink()
    desk.copy()
    assert desk.texts()["01.ipynb"] == desk.texts()["01 mine.ipynb"] == "01.ipynb, first"
    assert desk.texts()["02.ipynb"] == "02.ipynb, first"


@pytest.mark.parametrize("content", ["", "[]", '{"01.ipynb": 3}'])
def test_without_its_record_nothing_is_overwritten(desk: Desk, content: str) -> None:
    desk.copy()
    (desk.copies / "01.ipynb").write_text("mine")
    (desk.copies / ".originals.json").write_text(content)
    desk.copy()
    assert desk.texts()["01.ipynb"] == "mine"


def test_from_another_folder_of_lab(desk: Desk, tmp_path: Path) -> None:
    desk.copy(tmp_path, LAB_FOLDER=str(desk.work))
    assert len(desk.texts()) == 3
    assert not (tmp_path / "notebooks").exists()


def test_the_originals_themselves_are_left_alone(desk: Desk) -> None:
    assert desk.copy(desk.originals.parent) == ""
    assert not (desk.originals / ".originals.json").exists()


def test_a_folder_that_cannot_be_written_is_said_in_a_line(desk: Desk) -> None:
    desk.copies.write_text("a file")
    assert desk.copy() == f"copy-notebooks: {desk.copies}: File exists\n"
