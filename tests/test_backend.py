from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile

import pytest

from mnist_utils import backend

ONEDNN = b"I0000 00:00:1795311918.458028    6530 port.cc:153] oneDNN custom operations are on. You may see slightly\n"
ABSL = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"


def test_nothing_is_said_while_it_is_imported() -> None:
    code = "from mnist_utils.backend import ops; ops.ones((2, 2)) @ ops.ones((2, 2))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_the_noise_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ZeroDivisionError), backend._quiet():
        os.write(2, ABSL + ONEDNN + b"F0000 00:00: no AVX\n")
        assert capfd.readouterr().err == ""
        raise ZeroDivisionError
    os.write(2, b"after\n" + ABSL)
    assert capfd.readouterr().err == "F0000 00:00: no AVX\nafter\n" + ABSL.decode()


def test_without_a_stderr_or_a_place_for_it_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; os.close(2)\nfrom mnist_utils import backend\nprint(backend.keras.backend.backend())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "tensorflow\n")

    def full(*_: object) -> None:
        raise FileNotFoundError("No usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with backend._quiet():
        pass
