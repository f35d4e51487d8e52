"""`mnist predict`: pictures in, digits out."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_utils import ConfigError
from mnist_utils.cli.console import show_table
from mnist_utils.cli.options import JsonOption, ModelOption, ResultsOption
from mnist_utils.data.classes import DIGITS, class_word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnist_utils.preprocessing.decode import Polarity
    from mnist_utils.preprocessing.reader import PreprocessedImage
    from mnist_utils.runs.numbers import PictureDigits


def predict_command(
    images: Annotated[
        list[str] | None,
        typer.Argument(help="pictures of digits: files, folders, patterns, - for standard input (or set IMG_PATH)"),
    ] = None,
    model: ModelOption = None,
    polarity: Annotated[str, typer.Option(help="auto, dark-on-light or light-on-dark")] = "auto",
    digits: Annotated[
        str, typer.Option(help="one a picture; many, in rows; or auto: many where a picture clearly shows several")
    ] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="draw the steps of preprocessing into NAME.steps.png here")
    ] = False,
    submission: Annotated[
        Path | None,
        typer.Option(help="read one CSV of 784 pixels a row, and write this file: ImageId,Label, as Kaggle wants it"),
    ] = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict which digit each picture shows, or which number. Exits with 1 if a picture could not be read."""
    from mnist_utils.runs import inference
    from mnist_utils.runs.find import find_model, results_dir, run_of_model

    if polarity not in ("auto", "dark-on-light", "light-on-dark"):
        raise ConfigError(f"polarity: given {polarity!r}; allowed: auto, dark-on-light, light-on-dark")
    if digits not in ("auto", "one", "many"):
        raise ConfigError(f"digits: given {digits!r}; allowed: auto, one, many")
    images = images or [name for name in [os.environ.get("IMG_PATH")] if name]
    if not images:
        raise ConfigError("pictures: none given; name at least one, or set IMG_PATH")
    path = find_model(model, results_dir(results))
    predict, run = inference.load_model(path), run_of_model(path)
    classes = inference.class_names(predict, run.classes if run else ())
    if classes != DIGITS:
        if digits == "many":
            raise ConfigError("digits: given many; allowed: one, as this model's classes are no digits")
        digits = "one"  # only digits stand in rows
    if submission:
        _write_submission(submission, images, predict, classes)
        return
    drawn: set[Path] | None = set() if explain else None  # the files with their steps
    predictions = [
        _predict_picture(picture, predict, polarity, digits, drawn, classes)  # type: ignore[arg-type]
        for image in images
        for picture in _pictures(image)
    ]
    if as_json:
        print(json.dumps(predictions))
    else:
        _print_predictions(predictions, f"{path}, {run.origin if run else 'of no run, not calibrated'}", classes)
    if any("error" in prediction for prediction in predictions):
        raise typer.Exit(1)


def _write_submission(path: Path, files: list[str], predict: Any, classes: tuple[str, ...]) -> None:
    """Predict each row of a CSV of pixels; write the labels in Kaggle's form."""
    from mnist_utils._support.files import write_text_atomic
    from mnist_utils.data.own_tables import read_pixel_rows

    if len(files) != 1:
        raise ConfigError(f"submission: given {len(files)} files to predict; allowed: one CSV of 784 pixels a row")
    labels = predict(read_pixel_rows(Path(files[0]), labelled=False)[0]).argmax(axis=1)
    write_text_atomic(
        path, "".join(["ImageId,Label\n", *(f"{row},{classes[label]}\n" for row, label in enumerate(labels, 1))])
    )
    print(f"{path}: {len(labels):,} labels")


_STEPS = ".steps.png"
_UNLIKE = "unlike the digits it was trained on"


def _pictures(name: str) -> list[str]:
    """Turn a folder or a pattern into the names of its files; any other name stays, and is reported if it is missing."""
    import glob

    from mnist_utils.preprocessing.decode import SUFFIXES

    path = Path(name)
    if path.is_dir():
        files = (file for file in path.iterdir() if not file.name.endswith(_STEPS))  # our own drawings
        # Of a PDF, the error says what to do.
        inside = sorted(str(file) for file in files if file.suffix.lower() in (*SUFFIXES, ".pdf"))
        return inside or [name]
    return [name] if path.exists() else sorted(glob.glob(name, recursive=True)) or [name]  # noqa: PTH207 - absolute ones too


def _predict_picture(
    name: str, predict: Any, polarity: Polarity, digits: str, drawn: set[Path] | None, classes: tuple[str, ...]
) -> dict[str, Any]:
    from mnist_utils.preprocessing.decode import ImageError
    from mnist_utils.runs import inference, numbers

    ways: dict[str, Callable[..., inference.PicturePrediction | numbers.PictureDigits]] = {
        "one": inference.predict_picture,
        "many": numbers.predict_digits,
        "auto": numbers.predict_one_or_many,
    }
    picture = sys.stdin.buffer.read() if name == "-" else Path(name)
    try:
        found = ways[digits](picture, predict, polarity=polarity)
    except ImageError as error:
        hint = "; rows of pixels are predicted with --submission" if name.endswith((".csv", ".csv.gz")) else ""
        return {"path": name, "error": f"{error}{hint}"}
    if isinstance(found, numbers.PictureDigits):
        if digits == "auto":
            say = f"mnist: {name}: read as a number of {len(found.digits)} digits; for a single digit: --digits one"
            print(say, file=sys.stderr)
        if drawn is not None:
            _save_boxes(name, found, drawn)
        return {
            "path": name,
            "number": found.number,
            "digits": [
                {
                    "label": digit.label,
                    "probability": inference.round_down(digit.probability),
                    "unlike_digits": digit.unlike_digits,
                    "box": digit.box,
                }
                for digit in found.digits
            ],
            "reading": {"inverted": found.inverted, "turned": found.turned},
        }
    seen = found.seen
    if drawn is not None:
        _save_steps(name, seen, drawn)
    top = [[digit, inference.round_down(probability)] for digit, probability in found.top()]
    return {
        "path": name,
        "label": top[0][0],
        **({} if classes == DIGITS else {"class": classes[found.label]}),
        "probability": top[0][1],
        "top": top,
        "unlike_digits": found.unlike_digits,
        "reading": {
            "inverted": seen.inverted,
            "crop": seen.crop,
            "frames": seen.frames,
            "stroke": seen.stroke,
        },
    }


def _save_steps(name: str, image: PreprocessedImage, drawn: set[Path]) -> None:
    from matplotlib.figure import Figure

    from mnist_utils.plots import preprocessing_steps

    title = f"{name}, read as {'dark on light' if image.inverted else 'light on dark'}"
    _save(name, preprocessing_steps(image, title=title, figure=Figure()), drawn)


def _save_boxes(name: str, found: PictureDigits, drawn: set[Path]) -> None:
    from matplotlib.figure import Figure

    from mnist_utils.plots import digit_boxes

    figure = Figure(figsize=(8, 8 * found.colour.shape[0] / found.colour.shape[1] + 0.4), layout="constrained")
    boxes = [(digit.box, str(digit.label)) for digit in found.digits]
    digit_boxes(found.colour, boxes, title=f"{name}: {found.number}".replace("\n", " / "), ax=figure.subplots())
    _save(name, figure, drawn)


def _save(name: str, figure: Figure, drawn: set[Path]) -> None:
    stem = Path(name).stem if name != "-" else "stdin"
    path = next(path for n in itertools.count(1) if (path := Path(f"{stem}{f'-{n}' * (n > 1)}{_STEPS}")) not in drawn)
    drawn.add(path)  # another picture of this command may have the same name
    figure.savefig(path, dpi=100)
    print(f"mnist: {name}: the steps are in {path}", file=sys.stderr)


def _print_predictions(predictions: list[dict[str, Any]], model: str, classes: tuple[str, ...]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    short = (
        max(len(prediction["path"]) for prediction in predictions) <= 44
    )  # half of a narrow terminal: let the others fold
    for column in "picture", class_word(classes), "confidence", "next best", "ink":
        table.add_column(
            column, overflow="fold", no_wrap=column in ("digit", "confidence") or (short and column == "picture")
        )
    for prediction in predictions:
        if "number" in prediction:
            least = min(prediction["digits"], key=lambda digit: digit["probability"])
            odd = ", ".join(f"its {digit['label']} is {_UNLIKE}" for digit in prediction["digits"] if digit["unlike_digits"])
            beside = odd or f"least: its {least['label']}"
            seen = "dark" if prediction["reading"]["inverted"] else "light"
            sure = f"{100 * least['probability']:.2f}%"
            table.add_row(Text(prediction["path"]), prediction["number"], sure, beside, seen)
        elif "error" not in prediction:
            others = _UNLIKE
            if not prediction["unlike_digits"]:
                others = ", ".join(
                    f"{classes[label]}\N{NO-BREAK SPACE}{share:.1%}"
                    for label, share in prediction["top"][1:]
                    if share >= 0.001
                )
            seen = "dark" if prediction["reading"]["inverted"] else "light"
            table.add_row(
                Text(prediction["path"]),
                Text(classes[prediction["label"]]),
                f"{100 * prediction['probability']:.2f}%",
                others,
                seen,
            )
    if table.row_count:
        show_table(table)
        print(f"model: {model}")
    for prediction in predictions:
        if "error" in prediction:
            print(f"mnist: {prediction['path']}: {prediction['error']}", file=sys.stderr)
