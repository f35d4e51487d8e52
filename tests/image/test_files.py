"""The files that make the images, without running one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.conftest import docker
from tests.paths import CLONE

pytestmark = pytest.mark.image
SCRIPTS = ("docker/lab", "docker/start", "docker/install", "docker/profile.sh", "tests/image/base", "tests/image/build")
BIN = Path(sys.executable).parent


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run(
        [BIN / "hadolint", "--config", CLONE / "docker/hadolint.yaml", CLONE / "docker/Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    command = [str(BIN / "shellcheck"), "--shell=sh", *SCRIPTS]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_compose_understands_its_file() -> None:
    docker("compose", "--env-file", "/dev/null", "--file", str(CLONE / "docker/compose.yaml"), "config", "--quiet")


def test_each_debian_package_has_its_reason() -> None:
    text = (CLONE / "docker/Dockerfile").read_text()
    for command in re.findall(r"install -y --no-install-recommends ([^\\&]+)", text):
        for package in command.split():
            assert re.search(rf"^# {re.escape(package)} - \w", text, re.MULTILINE), package


def test_the_images_locks_are_parts_of_the_lock() -> None:
    def entries(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (CLONE / name).read_text().splitlines():
            if line[:1].isalnum():
                current = found.setdefault(line.partition(" ")[0], set())
            elif "--hash" in line:
                current.add(line.strip(" \\"))
        return found

    whole = entries("requirements.lock")
    for name, least in ("docker/lab.lock", 100), ("docker/serve.lock", 20), ("docker/tools.lock", 2):
        part = entries(name)
        assert len(part) >= least
        for package, hashes in part.items():
            assert hashes == whole[package], package
    assert not [name for name in entries("docker/serve.lock") if re.match("tensorflow|jupyter|keras|matplotlib|scipy", name)]


def test_the_base_image_is_fixed_by_its_digest() -> None:
    text = (CLONE / "docker/Dockerfile").read_text()
    assert re.search(r"^ARG BASE_IMAGE=debian:trixie-slim@sha256:[0-9a-f]{64}$", text, re.MULTILINE)


def test_a_line_of_the_lock_that_only_concerns_development_builds_no_packages_again() -> None:
    stages = re.split(r"^FROM ", (CLONE / "docker/Dockerfile").read_text(), flags=re.MULTILINE)
    copies = {stage.split()[2]: re.findall(r"^COPY (.*)", stage, re.MULTILINE) for stage in stages[1:] if " AS " in stage}
    for name in "base", "builder", "serve-packages", "lab-packages":
        assert not [line for line in copies[name] if "requirements.lock" in line or line.startswith(". ")]
    assert "requirements.lock /tmp/" in copies["test-packages"]
