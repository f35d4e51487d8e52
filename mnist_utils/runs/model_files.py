"""Model files that people bring: which forms are read, and what is said of the others. Keras loads with safe_mode only."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_utils import ConfigError, MnistError

MODEL_SUFFIXES = (".keras", ".tflite")
_HDF5 = (".h5", ".hdf5")


class ModelError(MnistError):
    """A model file that is missing or cannot be used."""

    status = 2


def import_command(path: Path) -> str:
    """Write the command that turns a model file into a run."""
    return f"mnist import {shlex.quote(str(path))} --dataset mnist"


def refuse_other_forms(path: Path) -> None:
    """Refuse what may be a model, but is in a form that is not read here.

    Raises
    ------
    ConfigError
        Says how to convert it.
    """
    if path.suffix.lower() in _HDF5:
        python = f"import keras; keras.saving.load_model('{path}', compile=False).save('{path.with_suffix('.keras')}')"
        raise ConfigError(f'{path} is in the older form HDF5; allowed: .keras. Convert it: python -c "{python}"')
    if (path / "saved_model.pb").is_file():
        raise ConfigError(
            f"{path} is a SavedModel, which Keras 3 cannot turn back into a model; allowed: .keras. Save it again where it "
            "was made: model.save('NAME.keras')"
        )


def refuse_models(given: str | Path) -> None:
    """Refuse a model's file where a run is wanted.

    Raises
    ------
    ConfigError
        Says how to make a run of it.
    """
    path = Path(given)
    refuse_other_forms(path)
    if path.suffix == ".keras":
        raise ConfigError(f"{path} is a model, not a run; make a run of it: {import_command(path)}")
    if path.suffix == ".tflite":
        raise ConfigError(
            f"{path} is a model, not a run; allowed: a run. The .keras file that it was made of can become one: mnist import"
        )


def load_keras_file(path: Path) -> Any:
    """Load a ``.keras`` file as the keras.Model that it is, with safe_mode only.

    Raises
    ------
    ModelError
        If it is damaged, or needs code that is not Keras's own; the message names it.
    """
    from mnist_utils.training.backend import keras

    try:
        config, metadata = _read_texts(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise ModelError(f"{path} is not a .keras file, as model.save('NAME.keras') writes it, or it is damaged") from None
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # of whatever kind: the file is not ours
        if own := sorted(set(_foreign_names({**config, "compile_config": None}))):
            raise ModelError(
                f"{path} cannot be loaded with safe_mode, which allows Keras's own layers only: it has {', '.join(own)}. "
                "Train it from its code (mnist train --model file.py), or save it again with Keras's layers in their place"
            ) from None
        saved = metadata.get("keras_version", "?")
        versions = "" if saved == keras.__version__ else f" (Keras {saved} saved it, this is {keras.__version__})"
        raise ModelError(f"{path} cannot be loaded with safe_mode{versions}: {reason_of(error)}") from None


def _read_texts(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        config, metadata = (json.loads(archive.read(name)) for name in ("config.json", "metadata.json"))
    return dict(config), dict(metadata)


def _foreign_names(node: Any) -> Iterator[str]:
    """Find the classes and functions in a saved configuration that are not Keras's, and Lambda layers, which hold code."""
    if isinstance(node, list):
        for part in node:
            yield from _foreign_names(part)
    if not isinstance(node, dict):
        return
    kind, module = str(node.get("class_name", "")), str(node.get("module", ""))
    if kind == "Lambda":
        yield "a Lambda layer"
    elif kind == "function":
        yield f"the function {node['config']}"
    elif kind and "module" in node and module.partition(".")[0] not in ("keras", "builtins") and not kind.startswith("__"):
        yield f"the class {kind}"
    for part in node.values():
        yield from _foreign_names(part)


def reason_of(error: Exception) -> str:
    """Take from what Keras says its last reason: before it come the configurations of all that it was in."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).rpartition("Exception encountered:")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Exception encountered")]
    return (lines or [type(error).__name__])[0][:200]
