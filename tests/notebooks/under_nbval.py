"""Let nbval execute a notebook, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import CLONE

_SECONDS = 300  # for one cell
_SANITIZE = Path(__file__).with_name("sanitize.cfg")


def execute(
    path: Path, *, compare: bool = True, package: Path = CLONE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Execute all cells of a notebook in one kernel, and compare their outputs with those in the file.

    Whatever the tests are spread over, a notebook's cells share a kernel, and this test's environment (offline, a person's
    data and results out of reach) is the kernel's.
    """
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "nbval.plugin", "--nbval" if compare else "--nbval-lax",
         "--nbval-current-env", f"--nbval-cell-timeout={_SECONDS}", f"--nbval-sanitize-with={_SANITIZE}", "--color=no",
         "-o", "addopts=", "-p", "no:cacheprovider",
         "-q", str(path)],
        # The other plugins take two seconds to load.
        env=os.environ | {"PYTHONPATH": str(package), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment,
        cwd=path.parent, capture_output=True, text=True, check=False, timeout=2 * _SECONDS,
    )  # fmt: skip
