"""The package as a whole: what it imports is what its users have."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions

from tests.paths import CLONE


def imported() -> dict[str, set[str]]:
    """From each top-level module that the package imports, to the files that do."""
    found: dict[str, set[str]] = {}
    for path in sorted((CLONE / "mnist_utils").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(path.name)
    return found


def test_all_that_is_imported_is_in_the_image() -> None:
    locked = set(re.findall(r"^([a-z0-9][^= ]*)==", (CLONE / "docker/lab.lock").read_text(), re.MULTILINE))
    distributions = packages_distributions()
    missing = {}
    for module, files in imported().items():
        if module in sys.stdlib_module_names or module in ("mnist_utils", "mlflow"):  # optional
            continue
        names = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions.get(module, [])}
        if not names & locked:
            missing[module] = files
    assert missing == {}
