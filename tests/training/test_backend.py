from __future__ import annotations

import subprocess
import sys


def test_the_import_prints_nothing() -> None:
    code = "from mnist_utils.training.backend import ops; ops.ones((2, 2)) @ ops.ones((2, 2))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
