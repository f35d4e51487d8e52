"""The notebooks' parameters: read, checked, given."""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_utils import ConfigError, MnistError
from mnist_utils.runs.run import NOTEBOOKS

# What the profile `full` changes; the notebooks' own defaults are the profile `quick`.
FULL_PROFILE: dict[str, dict[str, Any]] = {
    "02_train": {"epochs": 10},
    "04_ablations": {"ablation_images": 10_000, "ablation_epochs": 5},
}
TRAINING_NOTEBOOK = "02_train"  # trains into the run; the others read it, or are without a run
_TYPES: dict[str, tuple[type, str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "str": (str, "text"),
    "bool": (bool, "true or false"),
}


class NotebookError(MnistError):
    """A notebook that did not come to its end."""


@dataclass(frozen=True)
class NotebookStep:
    """One notebook of a pipeline.

    Attributes
    ----------
    path : Path
        The notebook as its author left it.
    allowed : frozenset of str
        Names of its parameters.
    given : dict
        The parameters that differ from its own defaults, each of the type that it states.
    """

    path: Path
    allowed: frozenset[str]
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The notebook's name, which begins with its number."""
        return self.path.stem


def notebooks_folder() -> Path:
    """Return the clone's folder of notebooks.

    Raises
    ------
    NotebookError
        If the package does not lie in a clone.
    """
    found = Path(__file__).parents[2] / NOTEBOOKS
    if not found.is_dir():
        raise NotebookError(f"there is no folder {found}: the notebooks come with the clone; run the command from one")
    return found


def select_notebooks(only: str | None = None) -> list[Path]:
    """List the notebooks in the order of their names.

    Parameters
    ----------
    only : str, optional
        Numbers or names, with commas between: ``"02,06"``, ``"2,error_analysis"``. Default: all.

    Raises
    ------
    ConfigError
        Names each word that is no notebook, and those that are.
    """
    paths = sorted(notebooks_folder().glob("[0-9]*_*.ipynb"))
    if only is None:
        return paths
    names: dict[str, Path] = {}
    for path in paths:
        number, _, rest = path.stem.partition("_")
        names |= dict.fromkeys((path.stem, number, number.lstrip("0"), rest), path)
    words = [word.strip().removesuffix(".ipynb") for word in only.split(",")]
    for word in words:
        if word not in names:
            near = difflib.get_close_matches(word, names, n=1)
            hint = f"; did you mean {names[near[0]].stem}?" if near else ";"
            raise ConfigError(f"only: given {word or repr('')}{hint} allowed: {', '.join(path.stem for path in paths)}")
    return [path for path in paths if path in {names[word] for word in words}]


def resolve_parameters(paths: list[Path], given: dict[str, Any], *, profile: str = "quick") -> list[NotebookStep]:
    """Give each notebook those of the parameters that it has, checked.

    Parameters
    ----------
    paths : list of Path
        The notebooks, in order.
    given : dict
        Parameters by name; text is read as the type that the notebook states for it.
    profile : str
        ``quick``: the notebooks' own defaults; ``full``: with those of `FULL_PROFILE`. `given` wins over both.

    Raises
    ------
    ConfigError
        Names each parameter that no notebook has or whose value is of another type or out of its range, what was
        given and what is allowed.
    """
    from papermill import inspect_notebook

    if profile not in ("quick", "full"):
        raise ConfigError(f"profile: given {profile}; allowed: quick, full")
    known = {path: inspect_notebook(str(path)) for path in paths}
    names = sorted({name for parameters in known.values() for name in parameters})
    problems = []
    for name, value in given.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            problems.append(
                f"{name}: given {value}, but no notebook that was chosen has it; {hint}allowed: {', '.join(names)}"
            )
    steps = []
    for path, parameters in known.items():
        wanted = FULL_PROFILE.get(path.stem, {}) if profile == "full" else {}
        wanted = wanted | {name: value for name, value in given.items() if name in parameters}
        parsed = {}
        for name, value in wanted.items():
            try:
                parsed[name] = _parse_value(value, parameters[name])
            except ConfigError as error:
                problems.append(str(error))
        defaults = {name: default_value(parameters[name]) for name in parsed}
        problems += _out_of_range({name: value for name, value in parsed.items() if value != defaults[name]})
        steps.append(NotebookStep(path, frozenset(parameters), parsed))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return steps


def _parse_value(value: Any, parameter: dict[str, str]) -> Any:
    """Read a value as the type that the notebook states for its parameter."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    name, stated = parameter["name"], parameter["inferred_type_name"]
    if stated not in _TYPES:
        raise ConfigError(f"{name}: its notebook states the type {stated}; known are {', '.join(_TYPES)}")
    wanted, words = _TYPES[stated]
    try:
        if isinstance(value, bool) and wanted is not bool:  # pydantic would take True for 1
            raise ValueError
        return TypeAdapter(wanted, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except (ValidationError, ValueError):
        raise ConfigError(f"{name}: given {value if value != '' else repr('')}; allowed: {words}") from None


def default_value(parameter: dict[str, str]) -> Any:
    """Return a parameter's default as Python reads it."""
    import ast

    with contextlib.suppress(ValueError, SyntaxError):  # something to compute
        return ast.literal_eval(parameter["default"])
    return None


def _out_of_range(given: dict[str, Any]) -> list[str]:
    """Say which values `TrainConfig` would refuse: better now than after the notebooks before the training."""
    from mnist_utils.training.config import FLAGS, TrainConfig, make_config

    # A yes or no for another field than a flag only shares its name; empty text is "choose for me".
    fields = {
        name: value
        for name, value in given.items()
        if name in TrainConfig.model_fields and value != "" and isinstance(value, bool) == (name in FLAGS)
    }
    try:
        make_config(**fields)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def read_parameters_file(path: Path, *, as_text: bool = False) -> dict[str, Any]:
    """Read parameters from a YAML file, ``name: value`` on each line, as papermill does.

    Parameters
    ----------
    path : Path
    as_text : bool
        Leave each value, and each of a list, as the text that it is: YAML takes 1:5 for a number to the base of 60.

    Raises
    ------
    ConfigError
        If it holds something else.
    OSError
        If it cannot be read.
    """
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader if as_text else yaml.SafeLoader)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{path}: allowed: lines of the form name: value")
    return content
