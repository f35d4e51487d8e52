"""The pages of this project: their commands run as written, their links resolve, the first page stays short."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
import yaml

from benchmarks.runs import collect_runs
from mnist_utils.cli import main
from mnist_utils.cli.options import train_options
from mnist_utils.cli.train import train_command
from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.statistics import wilson_interval
from tests import pictures
from tests.conftest import Cli
from tests.data.test_own import write_csv, write_shapes
from tests.fake_trackers import fake_mlflow, fake_optuna
from tests.paths import CLONE, REFERENCE
from tests.pictures import packed
from tests.preprocessing.test_reader import seven

if not (CLONE / "docs").is_dir():
    pytest.skip("the image has no pages: .ci/run tests them in the clone", allow_module_level=True)

PAGES = [CLONE / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += [
    *sorted((CLONE / "docs").glob("*.md")),
    *(CLONE / name / "README.md" for name in ("docker", "notebooks", "benchmarks")),
]
# The first page is run by `make test`, the others by `.ci/run`: their commands train twenty networks.
EVERY_PAGE = pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=() if page in PAGES[:2] else pytest.mark.pages) for page in PAGES],
    ids=[str(page.relative_to(CLONE)) for page in PAGES],
)

# Commands that are not run here: how each begins, why, and so what is looked at instead.
NOT_RUN = {
    "mnist run": "takes minutes: parsed, with the parameters of the notebooks",
    "mnist sweep": "takes minutes: parsed, with the values of the trials",
    "mnist serve": "runs until Ctrl-C: parsed; another server is asked by curl",
    "docker/lab": "needs an engine: its words are known, and what follows `mnist` is parsed",
    "docker/sbom": "needs an engine: it exists",
    "docker compose": "needs an engine: file and service exist",
    "docker run": "needs an engine",
    "make": "creates an environment, or takes minutes: there is such a target",
    "python -m benchmarks.accuracy": "takes minutes and MNIST: there is such a script, with such options",
    "dask": "runs until Ctrl-C: parsed",
    "conda": "needs conda: files that are named exist",
    "pip install": "needs the network: the packages are known optional ones",
    "tensorboard": "runs until Ctrl-C",
}


# --- what a page holds --------------------------------------------------------------------------------------


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Find the code of a page: ("sh", a command) for each command, and (language, content) for each other block."""
    language, lines = "", list[str]()
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            if language and language not in ("sh", "console"):
                yield language, "\n".join(lines)
            language, lines = "" if language else line[3:].strip() or "sh", []
        elif language in ("sh", "console"):
            yield "sh", line
        elif language:
            lines.append(line)
        elif line.startswith("    "):
            yield "sh", line.strip()


def commands(page: Path) -> list[list[str]]:
    split = [shlex.split(code, comments=True) for kind, code in blocks(page.read_text(encoding="utf-8")) if kind == "sh"]
    return [words for words in split if words]


def reason(words: list[str]) -> str | None:
    """Return the key of `NOT_RUN` for a command that is not run."""
    command = " ".join(split_environment(words)[1])
    return next((start for start in NOT_RUN if f"{command} ".startswith(f"{start} ")), None)


def split_environment(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Take the variables off a command that begins with some: NAME=value mnist ..."""
    first = next(i for i, word in enumerate(words) if not re.match("[A-Z_]+=", word))
    return dict(word.split("=", 1) for word in words[:first]), words[first:]


def test_the_first_page_is_short() -> None:
    content = (CLONE / "README.md").read_bytes()
    assert len(content) <= 6_000
    assert len(content.splitlines()) <= 110


def test_the_table_of_results_is_that_of_the_runs() -> None:
    """The CSV is what the benchmarks printed, and the README's rows are its first seeds and the committed run."""
    kept = pd.read_csv(CLONE / "benchmarks" / "runs.csv")
    collected = collect_runs((CLONE / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8"))
    pd.testing.assert_frame_equal(kept, collected)
    text = (CLONE / "README.md").read_text(encoding="utf-8")
    stated = re.findall(
        r"^\| `(\w+).*? \| (\d+) \| (\d+) (s|min) \| ([\d.]+) % \(([\d.]+)-([\d.]+)\) \|$", text, re.MULTILINE
    )
    shown = kept[kept["seed"] == 0]
    assert len(stated) == len(shown) == 3
    for (model, epochs, time, unit, *accuracy), row in zip(stated, shown.to_dict("records"), strict=True):
        low, high = wilson_interval(10_000 - row["test errors"], 10_000)
        assert (model, int(epochs)) == (row["model"], row["epochs"])
        assert int(time) == (row["training, s"] if unit == "s" else round(row["training, s"] / 60))
        assert accuracy == [f"{row['test accuracy, %']:.2f}", f"{100 * low:.2f}", f"{100 * high:.2f}"]


def test_the_first_page_has_every_command() -> None:
    named = {words[1] for words in commands(CLONE / "README.md") if words[0] == "mnist"}
    assert named == {command.name for command in main.app.registered_commands}


def test_every_exception_is_needed() -> None:
    assert {part for page in PAGES for words in commands(page) if (part := reason(words))} == NOT_RUN.keys()


# --- commands that are run ----------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a clone with a person's pictures in it."""
    for name in "notebooks", "docker", "benchmarks":
        (tmp_path / name).symlink_to(CLONE / name)
    shutil.copytree(REFERENCE, tmp_path / "results" / "reference")
    for name in "photo.jpg", "page.jpg", "x.png", "folder/a.png", "scans/2026/b.png":
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(packed(seven(), "JPEG" if name.endswith("jpg") else "PNG"))
    (tmp_path / "parameters.yaml").write_text("epochs: 3\n")
    write_shapes(tmp_path / "shapes", 20)
    write_shapes(tmp_path / "drawn", 20)
    digits = load_dataset("digits")
    write_csv(tmp_path / "train.csv", digits.x_train[:300], digits.y_train[:300])
    write_csv(tmp_path / "test.csv", digits.x_test[:20], None)
    write_model(tmp_path / "mine.keras")
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow([]))
    monkeypatch.setitem(sys.modules, "optuna", fake_optuna())
    for kind, code in blocks((CLONE / "docs" / "own.md").read_text(encoding="utf-8")):  # a person's own file
        if kind == "python" and (file := re.match(r"# (\w+\.py)\n", code)):
            with (tmp_path / file[1]).open("a") as own:
                own.write(code + "\n")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "MNIST_RESULTS": str(tmp_path / "results"),
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(CLONE),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def write_model(path: Path) -> None:
    """Write a model as a person has it: it takes 28x28 values, and returns logits."""
    import keras

    keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(path)


def finished(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@EVERY_PAGE
def test_what_a_page_says_works(
    page: Path, world: Path, mnist: Cli, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    found = list(blocks(page.read_text(encoding="utf-8")))
    for kind, code in found:  # a file is shown after the command that reads it
        if kind == "yaml":
            (world / "sweep.yaml").write_text(code)
    printed: Any = None  # the last output in JSON
    for kind, code in found:
        try:
            if kind == "sh" and (words := shlex.split(code, comments=True)):
                if reason(words):
                    check(words)
                elif words[0] != "papermill":  # which takes long: see below
                    if words[0] == "curl":
                        address = f"localhost:{request.getfixturevalue('server')[0]}"
                        words = [*(word.replace("localhost:5000", address) for word in words), "--fail", "--silent"]
                    out = run(words, mnist, monkeypatch)
                    printed = json.loads(out) if out.startswith(("[", "{")) else printed
            elif kind == "python":
                script = world / "script.py"  # a file, as the text of a function is read from it
                script.write_text(code)
                exec(compile(code, str(script), "exec"), {"__name__": "__main__"})  # noqa: S102 - our own
            elif kind == "json":
                check_form(json.loads(code), printed)
            else:
                assert kind in ("sh", "yaml"), "a block in a language that this test does not know"
        except BaseException as error:
            error.add_note(f"{page.name}: {code}")
            raise


def run(words: list[str], mnist: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a command as a shell would: `mnist` in this process, which has imported TensorFlow already."""
    variables, words = split_environment(words)
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        if words[-1].startswith("<"):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(words.pop()[1:]).read_bytes())))
        if words[0] != "mnist":
            return finished(words)
        status, out, err = mnist(*words[1:])
    assert status == 0, (words, out, err)
    return out


def check_form(shown: Any, printed: Any) -> None:
    """See that what a command prints has all the keys that the page shows."""
    if isinstance(shown, dict):
        if "error" in shown:  # the page shows one of a picture that is missing; these are all there
            return
        assert shown.keys() <= printed.keys()
        for key in shown:
            check_form(shown[key], printed[key])
    elif isinstance(shown, list):
        assert len(shown) == len(printed)
        for one, other in zip(shown, printed, strict=True):
            check_form(one, other)
    else:
        assert isinstance(printed, bool) == isinstance(shown, bool)
        assert isinstance(printed, int | float) == isinstance(shown, int | float)


PAPERMILL = sorted({tuple(words) for page in PAGES for words in commands(page) if words[0] == "papermill"})


@pytest.mark.pages
@pytest.mark.parametrize("words", PAPERMILL, ids=" ".join)
@pytest.mark.usefixtures("world")
def test_papermill(words: tuple[str, ...]) -> None:
    finished(list(words))
    if "--help-notebook" not in words:
        assert Path(words[2]).stat().st_size > 10_000
        assert list(Path("results").glob("*-fast/model.keras"))


def test_the_samples_are_of_so_many_kinds() -> None:
    page = (CLONE / "docs" / "predict.md").read_text(encoding="utf-8")
    assert f"{len(pictures.KINDS)} kinds of pictures" in page


# --- commands that are only looked at -----------------------------------------------------------------------


def check(words: list[str]) -> None:
    """Look at a command of `NOT_RUN`."""
    variables, (program, *rest) = split_environment(words)
    if program == "mnist":
        check_mnist(rest)
    elif program == "docker/lab":
        check_launcher(variables, rest)
    elif program == "docker/sbom":
        assert Path(program).is_file()
    elif program == "docker" and rest[0] == "compose":
        services = yaml.safe_load(Path(rest[rest.index("-f") + 1]).read_text())["services"]
        assert services.keys() & set(rest)
    elif program == "make":
        assert re.search(rf"^{rest[0]}: ", (CLONE / "Makefile").read_text(), re.MULTILINE)
    elif program == "python":
        source = (CLONE / f"{rest[1].replace('.', '/')}.py").read_text() + (CLONE / "benchmarks" / "results.py").read_text()
        assert [word for word in rest[2:] if word.startswith("--") and f'"{word}"' not in source] == []
    elif program == "dask":
        from distributed.cli import dask_scheduler, dask_worker

        {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[rest[0]].make_context(rest[0], rest[1:])
    elif program == "conda":
        assert [word for word in rest if word.endswith(".yml") and not (CLONE / word).is_file()] == []
    elif program == "pip":
        extras = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert {*rest[1:]} <= {"mlflow", *(needed.partition(">")[0] for needed in extras["trackers"])}
    else:
        assert [program, rest[0]] in (["docker", "run"], ["tensorboard", "--logdir"])


def check_mnist(words: list[str]) -> None:
    """Parse a command, and check what it would check before its work."""
    if words[0] == "train":  # as `main` does: its options are made when they are needed
        train_command.__signature__ = inspect.Signature(train_options())  # type: ignore[attr-defined]
    group: Any = typer.main.get_command(main.app)
    given = group.commands[words[0]].make_context(words[0], words[1:]).params
    pairs = dict(given.get("parameter") or [])
    if words[0] == "run":
        from mnist_utils.pipeline import parameters

        from_file = parameters.read_parameters_file(given["parameters_file"]) if given["parameters_file"] else {}
        notebooks = parameters.select_notebooks(given["only"])
        assert parameters.resolve_parameters(notebooks, from_file | pairs, profile=given["profile"])
    if words[0] == "sweep":
        from mnist_utils.experiments import grid
        from mnist_utils.pipeline.parameters import read_parameters_file

        from_file = read_parameters_file(given["parameters_file"], as_text=True) if given["parameters_file"] else {}
        assert grid.make_trials(from_file | pairs, random=given["random"])[0]


def check_launcher(variables: dict[str, str], words: list[str]) -> None:
    launcher = (CLONE / "docker" / "lab").read_text()
    explained = "\n".join(line for line in launcher.splitlines() if line.startswith("# "))
    for name in [*words[:1], *variables]:
        assert re.search(rf"(?<![\w-]){name}\b", explained) or name == "--help", name
    if words[:1] == ["mnist"]:
        check_mnist([word for word in words[1:] if not word.startswith("<")])
    elif words[:1] == ["train"]:
        check_mnist(["run", "--only", "02", *words[1:]])
    elif words[:1] in (["show"], ["doctor"]):
        check_mnist(words)


# --- links --------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    prose = re.sub(r"^```.*?^```|^    .*?$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize(
    "page",
    [*PAGES, CLONE / "CHANGELOG.md", CLONE / "benchmarks" / "RESULTS.md"],
    ids=lambda page: str(page.relative_to(CLONE)),
)
def test_links_resolve(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_first() -> None:
    reached, left = set[Path](), [CLONE / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if not link.startswith("#")}
        left += [path for path in targets if path.suffix == ".md" and path not in reached]
    assert reached >= {*PAGES, CLONE / "CHANGELOG.md"}


def test_labs_start_page_links_to_nothing_outside_its_folder() -> None:
    assert [link for link in links(CLONE / "notebooks" / "README.md") if link.startswith("..")] == []


# --- what CONTRIBUTING.md promises --------------------------------------------------------------------------


def test_the_hooks_before_a_commit_are_what_make_lint_runs() -> None:
    (repository,) = yaml.safe_load((CLONE / ".pre-commit-config.yaml").read_text())["repos"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (CLONE / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    lines = recipe[1].replace("$(VENV)", ".venv").splitlines()
    assert [hook["entry"] for hook in repository["hooks"]] == [line.strip() for line in lines]


def test_the_packages_are_in_the_order_of_their_imports() -> None:
    layers = tomllib.loads((CLONE / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    page = (CLONE / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page.partition("## The packages")[2].partition("## ")[0], re.MULTILINE) == layers
