"""How many real pictures are read correctly: pictures of one digit, of numbers, and of no digit, that people brought.

python -m benchmarks.real_pictures FOLDER [--model RUN] [--failures FOLDER]

FOLDER holds `pictures/index.csv` (columns file, label, kind, source), `pictures_of_numbers/index.csv` (file, rows: the
digits of each row, rows apart by /) and `pictures_of_no_digit/index.csv` (file, kind), the files beside each.

The sources are split into two halves. What was chosen by looking at pictures was chosen on the first; the second is
reported.
"""

from __future__ import annotations

import argparse
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from mnist_utils.evaluation.metrics import edit_distance
from mnist_utils.evaluation.statistics import wilson_interval
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.runs import inference
from mnist_utils.runs.find import find_model, results_dir
from mnist_utils.runs.numbers import PictureDigits, predict_digits, predict_one_or_many

CONFIDENT = 0.9
_BANDS = (0.0, 0.6, 0.9, 0.97, 1.0)


def read_singles(folder: Path, predict: inference.Predict) -> pd.DataFrame:
    """Read all pictures of one digit; a row for each: `half`, `answer` (-1: refused), `probability`, `several`, `unlike`."""
    index = pd.read_csv(folder / "pictures" / "index.csv", dtype={"source": str})
    rows = []
    for one in index.itertuples():
        row: dict[str, Any] = {"answer": -1, "probability": 0.0, "several": False, "unlike": False}
        try:
            found = inference.predict_picture(folder / "pictures" / str(one.file), predict)
            row |= {"answer": found.label, "probability": found.top()[0][1], "unlike": found.unlike_digits}
            either = predict_one_or_many(folder / "pictures" / str(one.file), predict)
            row["several"] = isinstance(either, PictureDigits)
        except ImageError:
            pass
        rows.append(row)
    half = ["first" if int(re.sub(r"\D", "", source)) % 2 == 0 else "second" for source in index["source"]]
    read = index.assign(half=half, **pd.DataFrame(rows))
    return read.assign(correct=read["answer"] == read["label"])


def read_numbers(folder: Path, predict: inference.Predict) -> pd.DataFrame:
    """Read all pictures of numbers; a row for each, with `answer`, `digits`, `distance`, `rows_exact`."""
    index = pd.read_csv(folder / "pictures_of_numbers" / "index.csv", dtype=str)
    rows = []
    for one in index.itertuples():
        wanted = str(one.rows).split("/")
        try:
            answer = predict_digits(folder / "pictures_of_numbers" / str(one.file), predict).number.split("\n")
        except ImageError:
            answer = []
        digits = sum(map(len, wanted))
        distance = min(edit_distance("/".join(wanted), "/".join(answer)), digits)
        exact = sum(row in answer for row in wanted)
        rows.append({"answer": "/".join(answer), "digits": digits, "distance": distance, "of": len(wanted), "exact": exact})
    return pd.concat([index, pd.DataFrame(rows)], axis=1)


def _share(correct: int, n: int) -> str:
    low, high = wilson_interval(correct, n)
    return f"{correct} of {n} ({correct / n:.1%}; 95 % interval {low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="a run, or a .tflite file [default: the reference run]")
    parser.add_argument("--failures", type=Path, help="write what the model saw of the misread ones, a row a kind")
    options = parser.parse_args()
    path = find_model(options.model, results_dir())
    predict = inference.load_model(path)
    singles = read_singles(options.folder, predict)
    print(f"model {path.parent.name}, {len(singles)} pictures of one digit from {singles['source'].nunique()} sources\n")
    for half, some in [*singles.groupby("half"), ("all", singles)]:
        print(f"- {half}: {_share(int(some['correct'].sum()), len(some))}")
    ones = singles[singles["label"] == 1]
    print(f"- ones: {_share(int(ones['correct'].sum()), len(ones))}")
    confident = singles["probability"] >= CONFIDENT
    wrong_but_sure = int((~singles["correct"] & confident).sum())
    print(f"- wrong with a probability of {CONFIDENT} or more: {wrong_but_sure} of {len(singles)}")
    print(f"- taken for several digits: {int(singles['several'].sum())} of {len(singles)}")
    for half in "first", "second":
        some = singles[singles["half"] == half]
        correct = some["correct"][some["unlike"]]
        print(f"- {half}, unlike digits: {_share(len(correct), len(some))}, {int((~correct).sum())} of them wrong")
    print()
    print("| probability | pictures | mean probability | correct |\n|---|---:|---:|---:|")
    for low, high in pairwise(_BANDS):
        band = singles[(singles["probability"] >= low) & (singles["probability"] < high + (high == 1))]
        if len(band):
            print(f"| {low} to {high} | {len(band)} | {band['probability'].mean():.3f} | {band['correct'].mean():.1%} |")
    print("\n| kind | pictures | correct |\n|---|---:|---:|")
    for kind, some in sorted(singles.groupby("kind"), key=lambda item: -len(item[1])):
        print(f"| {kind} | {len(some)} | {int(some['correct'].sum())} |")
    numbers = read_numbers(options.folder, predict)
    digits, wrong = int(numbers["digits"].sum()), int(numbers["distance"].sum())
    print(f"\n{len(numbers)} pictures of numbers: digits {_share(digits - wrong, digits)},")
    print(f"rows {_share(int(numbers['exact'].sum()), int(numbers['of'].sum()))}")
    if (options.folder / "pictures_of_no_digit").is_dir():
        print("\n| kind of no digit | pictures | refused | unlike digits |\n|---|---:|---:|---:|")
        none = read_no_digits(options.folder, predict)
        for kind, outcomes in [*none.groupby("kind")["outcome"], ("all", none["outcome"])]:
            print(f"| {kind} | {len(outcomes)} | {(outcomes == 'refused').sum()} | {(outcomes == 'unlike').sum()} |")
    if options.failures:
        _write_failures(options.folder, singles[~singles["correct"]], options.failures)


def read_no_digits(folder: Path, predict: inference.Predict) -> pd.DataFrame:
    """Read all pictures of no digit; a row for each, with `outcome`: refused, unlike (digits), or answered."""
    index = pd.read_csv(folder / "pictures_of_no_digit" / "index.csv")
    outcomes = []
    for file in index["file"]:
        try:
            found = predict_one_or_many(folder / "pictures_of_no_digit" / file, predict)
        except ImageError:
            outcomes.append("refused")
            continue
        digits = found.digits if isinstance(found, PictureDigits) else [found]
        outcomes.append("unlike" if any(digit.unlike_digits for digit in digits) else "answered")
    return index.assign(outcome=outcomes)


def _write_failures(folder: Path, wrong: pd.DataFrame, into: Path) -> None:
    from matplotlib.figure import Figure

    from mnist_utils.plots import preprocessing_steps
    from mnist_utils.preprocessing.reader import preprocess

    into.mkdir(parents=True, exist_ok=True)
    for file, answer, probability in zip(wrong["file"], wrong["answer"], wrong["probability"], strict=True):
        try:
            seen = preprocess(folder / "pictures" / file)
        except ImageError:
            with Image.open(folder / "pictures" / file) as picture:
                picture.convert("RGB").save(into / f"{file}.png")
            continue
        title = f"{file}: {answer} at {probability:.2f}"
        preprocessing_steps(seen, title=title, figure=Figure()).savefig(into / f"{file}.png", dpi=80)


if __name__ == "__main__":
    main()
