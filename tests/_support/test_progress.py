from __future__ import annotations

from typing import Any

import IPython.display
import pytest

from mnist_utils._support import progress
from mnist_utils._support.progress import progress_display


def test_without_a_terminal_there_are_the_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_display(2) as show:
        show(0.5, "half of the first")
        show(1, line="epoch 1/2 " + "x" * 200)
        show(2, line="epoch 2/2")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["epoch 1/2 " + "x" * 200, "epoch 2/2"]


def test_disabled_it_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_display(1, enabled=False) as show:
        show(1, line="epoch 1/1")
    assert capsys.readouterr() == ("", "")


class Screen:
    """What a notebook would show: the outputs it was given, each as last changed."""

    def __init__(self) -> None:
        self.history: list[str] = []

    def display(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.history.append(data["text/plain"])

    update = display


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    monkeypatch.setattr(progress, "Console", lambda **_: type("Notebook", (), {"is_jupyter": True})())
    monkeypatch.setattr(IPython.display, "DisplayHandle", lambda: made)
    return made


def test_a_notebook_keeps_one_output_with_the_lines(
    screen: Screen, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(progress, "UPDATE_INTERVAL", -1)
    with progress_display(2) as show:
        show(0.5, "epoch 1/2")
        show(1, line="first")
        show(1.5, "epoch 2/2")
        show(2, line="second")
    bar = "█" * 15
    assert screen.history[1].startswith("█" * 8 + "░" * 22)  # a quarter, rounded
    assert screen.history[1].splitlines()[0].endswith("  epoch 1/2")
    assert screen.history[2].splitlines()[:2] == ["first", f"{bar}{'░' * 15}"]
    assert "mnist runs" in screen.history[2].splitlines()[2]  # for a user who reopens the page
    assert screen.history[-1] == "first\nsecond"
    assert capsys.readouterr() == ("", "")


def test_a_notebook_is_not_told_of_every_step(screen: Screen) -> None:
    with progress_display(1) as show:
        for i in range(1000):
            show(i / 1000, "step")
        show(1, line="first")
    assert len(screen.history) < 20


def test_a_notebook_that_is_interrupted_keeps_the_lines(screen: Screen) -> None:
    def train() -> None:
        with progress_display(2) as show:
            show(1, line="first")
            show(1.5, "epoch 2/2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert screen.history[-1] == "first"
