"""The benchmarks are run by hand; here they are at least found whole after the package has changed."""

from __future__ import annotations

import importlib

import pytest

from tests.paths import CLONE

MODULES = sorted(path.stem for path in (CLONE / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").__doc__
