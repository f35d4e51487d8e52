"""What a run is recorded with: package versions, commit, processor."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    *("mnist-workbench", "tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert"),
    *("numpy", "scipy", "scikit-learn", "scikit-image", "opencv-python-headless"),
)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of those packages, of the ones that move the numbers, that are installed."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found | {"python": platform.python_version()}


def git_commit() -> str | None:
    """Return the commit of the code, with a + where files were changed since; None outside a clone and its image."""
    git = ["git", "-C", str(Path(__file__).parents[1])]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return (
            os.environ.get("MNIST_GIT_COMMIT") or None
        )  # the image has no clone, but knows the commit that it was built from
    return commit + ("+" if changed else "")


def cpu_name() -> str:
    """Name this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
