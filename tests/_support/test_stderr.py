"""stderr: lines that nobody can act on are left out, and no others."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mnist_utils._support import stderr

ONEDNN = b"I0000 00:00:1795311918.458028    6530 port.cc:153] oneDNN custom operations are on. You may see slightly\n"
ABSL = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"


def test_only_the_noise_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ZeroDivisionError), stderr.quiet_stderr():
        os.write(2, ABSL + ONEDNN + b"F0000 00:00: no AVX\n")
        assert capfd.readouterr().err == ""
        raise ZeroDivisionError
    os.write(2, b"after\n" + ABSL)
    assert capfd.readouterr().err == "F0000 00:00: no AVX\nafter\n" + ABSL.decode()


def test_without_a_stderr_or_a_place_for_it_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; os.close(2)\nfrom mnist_utils.training import backend\nprint(backend.keras.backend.backend())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "tensorflow\n")

    def full(*_: object) -> None:
        raise FileNotFoundError("No usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with stderr.quiet_stderr():
        pass


def test_the_first_import_of_a_module_is_quiet_and_the_module_is_whole(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(f"import os\nos.write(2, {ABSL + ONEDNN + b'heard'!r})\nvalue = 3\n")
    code = (
        "from mnist_utils._support.stderr import quiet_import\nquiet_import('noisy')\nimport json, noisy\nprint(noisy.value)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "heard")
    missing = code.replace("noisy", "nosuch")
    done = subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nosuch'"
