"""The model card: its values are the run's, in every kind of run, and its Markdown holds whatever a class is called."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mistune
import numpy as np
import pytest

from mnist_utils.evaluation.calibration import count_errors
from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.evaluation.statistics import wilson_interval
from mnist_utils.runs import evaluate
from mnist_utils.runs.card import count_parameters, escape_markdown, model_card, write_card
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import mark_incomplete
from mnist_utils.runs.run import Run, RunError, RunMetrics
from mnist_utils.training.config import make_config
from tests.lazy import lazy
from tests.paths import CLONE, REFERENCE

if TYPE_CHECKING:
    import keras
else:
    keras = lazy("keras")

NASTY = ("a|b", "*loud*", "<b>bold</b>", "_low_ [x](y)", "two\nlines", "`code`")
render = mistune.create_markdown(escape=True, plugins=["table"])


def words(card: str) -> str:
    """Return what a reader of the rendered card reads."""
    html = re.sub(r"<[^>]+>", " ", str(render(card)))
    for entity, sign in ("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&"):
        html = html.replace(entity, sign)
    return " ".join(html.split())


def tables(card: str) -> list[list[list[str]]]:
    """Return the rendered tables: rows of cells."""
    html = str(render(card))
    return [
        [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
        for table in re.findall(r"<table>(.*?)</table>", html, re.DOTALL)
    ]


def make_run(
    folder: Path,
    *,
    classes: tuple[str, ...] = tuple("0123456789"),
    validation: int = 300,
    sure: float = 0.9,
    share: float = 0.9,
    facts: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    **config: Any,
) -> Run:
    """Write a run whose predictions are correct for a `share` of the images, each with confidence `sure`."""
    place, random, n = folder / "made", np.random.default_rng(0), len(classes)
    place.mkdir()
    arrays: dict[str, Any] = {}
    found = {}
    for part, images in ("validation_", validation), ("", 400):
        labels = np.arange(images) % n
        predicted = np.where(random.random(images) < share, labels, (labels + 1) % n)
        probabilities = np.full((images, n), (1 - sure) / (n - 1))
        probabilities[np.arange(images), predicted] = sure
        arrays |= {f"{part}probabilities": probabilities.astype(np.float32), f"{part}labels": labels}
        found[part] = compute_metrics(probabilities, labels) if images else None
    np.savez(place / "predictions.npz", **arrays)
    assert found[""]
    content = asdict(RunMetrics(found["validation_"], found[""], {"training": 1.0}))
    (place / "metrics.json").write_text(json.dumps(content | (metrics or {})))
    made = make_config(**({"dataset": "digits", "seed": 7} | config)).model_dump()
    dataset: dict[str, Any] = {"name": "digits", "sha256": "3c89dea4" * 8, "note": "", "classes": classes}
    dataset |= {"images": {"training": 1234, "validation": validation, "test": 400}}
    written: dict[str, Any] = {"config": made, "dataset": dataset, "versions": {"keras": "3.15.1"}, "git_commit": "abc+"}
    written |= {"format": 2, "started": "2026-01-02T03:04:05+00:00", "cpu": {"name": "Some CPU", "cores": 2}}
    given = dict(facts or {})
    written["dataset"] |= given.pop("dataset", {})
    written["config"] |= given.pop("config", {})
    (place / "config.json").write_text(json.dumps(written | given))
    return read_run("made", folder)


def test_its_values_are_those_of_the_metrics_and_the_predictions(tiny_run: Run) -> None:
    card = (tiny_run.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == model_card(tiny_run)
    shown, results = tiny_run.trained(), tables(card)[0]
    for row, part in zip(results[1:], ("validation", "test"), strict=True):
        recorded = shown.validated() if part == "validation" else shown.test
        probabilities, labels = tiny_run.predictions(part)  # type: ignore[arg-type]
        loss = -np.log(probabilities[np.arange(len(labels)), labels].astype(np.float64)).mean()
        low, high = recorded.accuracy_interval
        assert row[:4] == [
            part, f"{recorded.n}", f"{100 * recorded.accuracy:.2f} %", f"{100 * low:.2f} to {100 * high:.2f} %",
        ]  # fmt: skip
        assert float(row[4]) == pytest.approx(loss, abs=1e-3)
        assert row[5] == f"{100 * compute_metrics(probabilities, labels).expected_calibration_error:.2f} %"
    text, errors = words(card), count_errors(*tiny_run.predictions())
    assert f"the confidences predict {errors.expected:.1f} errors, and there are {errors.observed} (" in text
    assert f"{errors.observed} of the 360 test images are predicted incorrectly" in text
    assert "Training images: 200." in text
    assert f"labels: {tiny_run.sha256} ." in text
    assert f"keras {keras.__version__}" in text
    assert f"temperature of {shown.temperature:.3f}" in text or shown.temperature == 1
    assert "mnist train -f config.json --run again" in text


def test_the_weakest_classes_and_the_pairs_are_the_matrix_s(tiny_run: Run) -> None:
    matrix = np.array(tiny_run.trained().test.confusion_matrix)
    recalls = matrix.diagonal() / matrix.sum(axis=1)
    _, weakest, pairs = tables(model_card(tiny_run))[:3]
    assert weakest[0] == ["digit", "test images", "recall", "95 % interval"]
    assert [float(row[2][:-2]) for row in weakest[1:]] == pytest.approx(100 * np.sort(recalls)[:3], abs=0.006)
    for name, n, _, interval in weakest[1:]:
        low, high = wilson_interval(int(matrix[int(name), int(name)]), int(n))
        assert interval == f"{100 * low:.2f} to {100 * high:.2f} %"
    np.fill_diagonal(matrix, 0)
    assert [int(row[2]) for row in pairs[1:]] == sorted(matrix[matrix > 0].tolist(), reverse=True)[:5]
    for digit, predicted, images, share in pairs[1:]:
        assert matrix[int(digit), int(predicted)] == int(images)
        assert share == f"{100 * int(images) / matrix.sum():.0f} %"


def test_the_parameters_are_keras_s(tiny_run: Run, tmp_path: Path) -> None:
    expected = keras.saving.load_model(tiny_run.path / "model.keras").count_params()
    assert count_parameters(tiny_run.path / "model.keras") == expected
    assert f"fast , {expected:,} parameters" in words(model_card(tiny_run))
    model = keras.Sequential([
        keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dropout(0.5), keras.layers.BatchNormalization(),
    ])  # fmt: skip
    model.compile("adam", "mse")
    model.fit(np.zeros((4, 2)), np.zeros((4, 3)), verbose=0)
    model.save(tmp_path / "one.keras")  # with the optimiser's moments, and the seed of the dropout
    assert count_parameters(tmp_path / "one.keras") == model.count_params() == 9 + 12
    assert count_parameters(tmp_path / "none.keras") is None
    (tmp_path / "bad.keras").write_bytes(b"PK")
    assert count_parameters(tmp_path / "bad.keras") is None


@pytest.mark.parametrize(
    ("sure", "share", "said"),
    [
        (0.9, 0.9, "on images of the same kind, there are about as many errors as the confidences predict."),
        (0.99, 0.9, "the model is overconfident on such images. In total it is incorrect more often"),
        (0.8, 0.99, "the model is underconfident on such images. In total it is correct more often"),
    ],
)
def test_what_may_be_claimed_follows_from_the_errors(sure: float, share: float, said: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, sure=sure, share=share)
    text, errors = words(model_card(run)), count_errors(*run.predictions())
    assert f"What may be claimed: {said}" in text
    assert text.count("What may be claimed") == 1
    assert f"predict {errors.expected:.1f} errors" in text


def test_classes_of_your_own_are_named_and_are_no_digits(tmp_path: Path) -> None:
    dataset = {"name": "sha|pes", "note": "20 left *out*"}
    run = make_run(tmp_path, classes=NASTY, dataset="/home/private/shapes", facts={"dataset": dataset})
    card = model_card(run)
    text, (results, weakest, pairs) = words(card), tables(card)
    for name in NASTY:
        assert " ".join(name.split()) in text
    assert "6 classes" in text
    assert "digit" not in text.lower()
    assert "Weakest classes" in text
    assert [len(row) for row in results] == [6] * 3
    assert [len(row) for row in weakest] == [4] * 4
    assert {len(row) for row in pairs} == {4}
    assert pairs[0][0] == weakest[0][0] == "class"
    assert "Note: 20 left *out*" in text
    assert "sha|pes, the user's own" in text
    assert "add --dataset PATH" in text
    assert "private" not in card  # a path of one person's machine
    assert "Whether the test images are of other people" in text
    assert "--raw" not in text
    (tmp_path / "raw").mkdir()
    raw = make_run(tmp_path / "raw", classes=NASTY, dataset="/home/private/shapes", raw=True)
    assert "pictures were only resized ( --raw ), but mnist predict" in words(model_card(raw))


def test_a_run_without_validation_images_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path, validation=0, validation_fraction=0)
    card = model_card(run)
    assert [row[0] for row in tables(card)[0]] == ["images", "test"]
    for said in (
        "Validation images: none. The model was trained on all images", "There are no validation images.",
        "(temperature 1): there were no validation images to fit a temperature on",
    ):  # fmt: skip
        assert said in words(card)


def test_an_imported_model_claims_no_training(tmp_path: Path) -> None:
    facts = {"config": {"epochs": 0, "seed": None, "augment": None, "model": "mine.keras@12345678"}}
    run = make_run(tmp_path, facts=facts | {"network": {"name": "mine.keras", "sha256": "f" * 64}})
    text = words(model_card(run))
    assert "made elsewhere and imported" in text
    assert "mnist import FILE --dataset digits FILE is mine.keras , with the SHA-256 " + "f" * 64 in text
    assert "The model's own licence is not known here." in text
    assert "If it was trained on the test images, everything here is." in text
    for wrong in "None", "Trained on", "seed", "Augmentation", "mnist train", "writers", "not trained":
        assert wrong not in text, wrong


def test_a_training_for_pictures_and_from_another_run_is_described(tmp_path: Path) -> None:
    found = {"temperature": 0.7, "temperature_interval": [0.65, 0.76]}
    facts = {"from": {"run": "first_one", "sha256": "0"}, "config": {"model": "mine.py:wider@1a2b3c4d"}}
    run = make_run(tmp_path, augment="pictures", patience=3, facts=facts, metrics=found)
    text = words(model_card(run))
    for said in (
        "for at most 10 epochs", "from the weights of run first_one.", "shown letters, signs, scribbles and shapes",
        "temperature of 0.700 (95 % interval 0.650 to 0.760), fitted on the validation images, each replaced by",
        "some show no digit", "your own code beside it ( mine.py:wider@1a2b3c4d )", "the + says that files were changed",
    ):  # fmt: skip
        assert said in text
    (tmp_path / "plain").mkdir()
    plain = words(model_card(make_run(tmp_path / "plain", metrics=found)))
    assert "fitted on the validation images." in plain
    assert "It was not trained to notice" in plain


def test_a_run_without_an_error_has_neither_weak_classes_nor_pairs(tmp_path: Path) -> None:
    card = model_card(make_run(tmp_path, share=1))
    assert len(tables(card)) == 1
    assert "All test images are predicted correctly." in card
    assert "There are none on the test images." in card


def test_robustness_is_in_it_once_it_was_measured(tiny_run: Run, tmp_path: Path) -> None:
    assert "Not measured. mnist evaluate tiny --robustness measures it" in words(model_card(tiny_run))
    shutil.copytree(tiny_run.path, tmp_path / "one")
    run = read_run("one", tmp_path)
    found = evaluate.evaluate_robustness(run)
    written = evaluate.write_robustness(run, found)
    assert written[2] == run.path / "MODEL_CARD.md"
    card = written[2].read_text(encoding="utf-8")
    rows = tables(card)[3]
    assert [row[0] for row in rows[1:]] == [name.replace("_", " ") for name in found.table.index]
    first = found.table.iloc[1]
    assert rows[2][1:] == [
        "MNIST-C", "360", f"{100 * first['accuracy']:.2f} %", f"{100 * first['low']:.2f} to {100 * first['high']:.2f} %",
        f"{100 * first['confidence']:.2f} %",
    ]  # fmt: skip
    low, high = found.mean_interval
    assert f"MNIST-C: {100 * found.mean:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f} %)." in words(card)
    assert "its augmentation may make changes of the same kinds" in words(card)
    content = json.loads((run.path / "robustness.json").read_text())
    del content["rows"][1]["confidence"]  # as of an earlier version
    (run.path / "robustness.json").write_text(json.dumps(content | {"mean_interval": [None, None]}))
    assert tables(model_card(run))[3][2][-1] == "not recorded"
    assert f"MNIST-C: {100 * found.mean:.2f} %. The worst" in words(model_card(run))
    (run.path / "robustness.json").write_text("{")
    with pytest.raises(RunError, match=r"robustness.json is damaged"):
        model_card(run)


def test_runs_of_earlier_versions_have_a_card(tmp_path: Path) -> None:
    run = make_run(tmp_path, facts={"dataset": {"images": None}})
    with np.load(run.path / "predictions.npz") as archive:
        kept = {name: archive[name] for name in ("probabilities", "labels")}
    np.savez(run.path / "predictions.npz", **kept)
    config = json.loads((run.path / "config.json").read_text())
    for name in "versions", "git_commit", "started", "cpu":
        del config[name]
    del config["config"]["optimizer"]
    (run.path / "config.json").write_text(json.dumps(config))
    card = model_card(read_run("made", tmp_path))
    assert tables(card)[0][1][-2:] == ["not recorded"] * 2
    for said in "Training images: not recorded.", "Date: not recorded.", "Versions: not recorded.", "(not recorded)":
        assert said in words(card)
    assert "commit of the code: not recorded." in words(card)


def test_the_reference_s_card_is_up_to_date() -> None:
    run = read_run("reference", REFERENCE.parent)
    assert (REFERENCE / "MODEL_CARD.md").read_text(encoding="utf-8") == model_card(run)
    assert "Training images: 54,000." in words(model_card(run))


def test_the_licence_is_the_project_s() -> None:
    assert tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]["license"] == "MIT"
    assert "has the MIT licence" in model_card(read_run("reference", REFERENCE.parent))


def test_a_write_that_fails_leaves_the_former_card(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "one")
    run = read_run("one", tmp_path)
    (run.path / "MODEL_CARD.md").write_text("former")
    before = sorted(run.path.rglob("*"))

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_card(run)
    assert (run.path / "MODEL_CARD.md").read_text() == "former"
    assert sorted(run.path.rglob("*")) == before


def test_an_incomplete_run_has_none(tiny_run: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "half")
    mark_incomplete(tmp_path / "half", "training", "stopped by Ctrl-C")
    with pytest.raises(RunError, match="run half is incomplete"):
        write_card(read_run("half", tmp_path))


@pytest.mark.parametrize("text", [*NASTY, "a_b", "_", "$x$", "&lt;", "~~no~~", "\\", "# 1", "![x](y)", "https://a.b"])
def test_markdown_shows_what_was_escaped_as_it_is(text: str) -> None:
    assert words(f"a {escape_markdown(text)} b") == f"a {' '.join(text.split())} b"
    assert escape_markdown("fashion_mnist") == "fashion_mnist"
