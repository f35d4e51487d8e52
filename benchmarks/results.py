"""What the benchmarks have in common: the line that says where a table was measured, and its place in RESULTS.md."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from mnist_utils.runs.environment import cpu_name, package_versions
from mnist_utils.training.precision import choose_precision

RESULTS = Path(__file__).with_name("RESULTS.md")
END = "<!-- its end -->\n"


def where() -> str:
    """Say when, on what and with what a table was measured."""
    used = package_versions()
    packages = ", ".join(
        f"{name} {used[name]}" for name in ("python", "tensorflow", "tensorflow-cpu", "keras") if name in used
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu_name()}, {os.cpu_count()} cores ({choose_precision('auto')}), load average "
        f"{os.getloadavg()[0]:.1f} when it began; {packages}."
    )


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Begin a benchmark's command line: its first line as the description, and --write."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put what it prints into RESULTS.md")
    return parser


def publish(command: str, report: str, *, keep: bool) -> None:
    """Print a report and, if it is to be kept, `write` it."""
    print(report)
    if keep:
        write(command, report)


def write(command: str, report: str) -> None:
    """Put a report into RESULTS.md, in place of what the same command printed before.

    Raises
    ------
    SystemExit
        If the file has no place for it: a comment of the command, then one of its end.
    """
    begin = f"<!-- {command} -->\n"
    before, found, rest = RESULTS.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise SystemExit(f"{RESULTS} has no line {begin.strip()}")
    RESULTS.write_text(f"{before}{begin}\n{report}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
