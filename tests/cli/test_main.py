from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_utils.data.datasets import Dataset
from mnist_utils.data.sources import NAMES as DATASETS
from mnist_utils.runs.find import read_run
from mnist_utils.runs.record import record_run
from mnist_utils.training.config import make_config
from mnist_utils.training.network import NAMES
from tests import drawings
from tests.conftest import TINY, Cli
from tests.data.test_own import write_shapes
from tests.fake_runs import fake_run, write_run
from tests.paths import REFERENCE
from tests.pictures import letter_on_paper

QUICK = ("--dataset", "digits", "--train-limit", "200", "--epochs", "2", "--batch-size", "50", "--quiet")


@pytest.fixture(scope="module")
def results(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold two runs."""
    folder = tmp_path_factory.mktemp("results")
    for name, seed in ("reference", 0), ("second", 1):
        record_run(make_config(**TINY, seed=seed), tiny, name, folder, progress=False)
    return folder


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    image = Image.new("L", (200, 160), 255)
    ImageDraw.Draw(image).line([(50, 40), (110, 40), (80, 120)], fill=0, width=12)
    image.save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


# --- help and bad arguments ---


def test_help_lists_the_commands(mnist: Cli) -> None:
    status, out, _ = mnist("--help")
    assert status == 0
    for command in "data", "train", "run", "predict", "evaluate", "runs", "compare", "show", "serve":
        assert re.search(rf"^│ {command} ", out, re.MULTILINE)


def test_neither_the_package_nor_help_loads_anything_heavy() -> None:
    code = (
        "import sys; import mnist_utils; before = set(sys.modules); sys.argv = ['mnist', '--help']\n"
        "from mnist_utils.cli import main\ntry: main.main()\nexcept SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'numpy', 'pandas', 'sklearn', 'scipy', 'pydantic'}\n"
        "print(sorted(heavy & before), sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] []"


def test_train_help_explains_every_hyper_parameter_with_its_default_in_groups(mnist: Cli) -> None:
    status, out, _ = mnist("train", "-h")
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", out).split())
    assert status == 0
    for panel in "Data", "Model", "Training":
        assert f"─ {panel} ─" in out
    assert "by default on digits (a whole number from 1 to 10000) [default: fast 1, accurate 20" in words
    from mnist_utils.training.config import TrainConfig

    for name, field in TrainConfig.model_fields.items():
        assert f"--{'from' if name == 'from_run' else name.replace('_', '-')} {field.description}" in words


def test_version(mnist: Cli) -> None:
    assert mnist("--version")[1] == "mnist 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "0"), "mnist: epochs: given 0; allowed: a whole number from 1 to 10000\n"),
        (("--batch-size", "-1"), "mnist: batch_size: given -1; allowed: a whole number from 1 to 60000\n"),
        (("--conv-dropout", "1.5"), "mnist: conv_dropout: given 1.5; allowed: a number from 0 below 1\n"),
        (
            ("--model", "nosuch"),
            f"mnist: model: given nosuch; allowed: {', '.join(NAMES)}, or your own: file.py or file.py:function\n",
        ),
        (
            ("--dataset", "nosuch"),
            f"mnist: dataset: given nosuch; allowed: {', '.join(DATASETS)}, or a path, as ./shapes or train.csv\n",
        ),
    ],
)
def test_bad_hyper_parameters(arguments: tuple[str, ...], message: str, mnist: Cli, tmp_path: Path) -> None:
    assert mnist("train", *arguments, "--results", str(tmp_path)) == (2, "", message)
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_option(mnist: Cli) -> None:
    status, _, err = mnist("train", "--epocs", "3")
    assert status == 2
    assert "No such option: --epocs" in err


def test_missing_data(mnist: Cli) -> None:
    status, _, err = mnist("data", "--dataset", "mnist")
    assert status == 1
    assert [line.startswith("mnist: ") for line in err.splitlines()] == [True] * 3
    assert "Set MNIST_DATA_DIR" in err


# --- the commands ---


def test_data(mnist: Cli) -> None:
    status, out, _ = mnist("data")
    assert status == 0
    assert re.search(r"^dataset +digits$", out, re.MULTILINE)
    assert re.search(r"^test +360 images$", out, re.MULTILINE)
    assert re.search(r"^note +MNIST is not available", out, re.MULTILINE)
    facts = json.loads(mnist("data", "--json")[1])
    assert (facts["training"], facts["validation"], facts["test"]) == (1293, 144, 360)


def test_train_prints_the_accuracy_the_folder_and_what_it_was_measured_on(mnist: Cli, tmp_path: Path) -> None:
    status, out, err = mnist("train", *QUICK[2:-1], "--results", str(tmp_path), "--run", "one")
    assert status == 0
    assert re.search(r"^test accuracy +\d+\.\d\d% \(\d+\.\d\d-\d+\.\d\d\) on 360 images of digits$", out, re.MULTILINE)
    assert re.search(r"^note +MNIST is not available", out, re.MULTILINE)
    assert f"{tmp_path / 'one'}\n" in out
    assert "note: MNIST is not available" in err
    assert re.search(r"^epoch 2/2  accuracy ", err, re.MULTILINE)
    status, again, err = mnist("train", *QUICK[2:-1], "--results", str(tmp_path), "--run", "one")
    assert (status, again) == (0, out)
    assert "is complete" in err


def test_data_and_train_take_flags_for_pictures(mnist: Cli, tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", 12)
    (folder / "cross" / "0.png").write_bytes(b"no picture")
    status, _, err = mnist("data", "--dataset", str(folder))
    assert status == 1
    assert err.endswith("--skip-unreadable leaves such pictures out\n")
    given = "--dataset", str(folder), "--raw", "--skip-unreadable"
    facts = json.loads(mnist("data", *given, "--json")[1])
    assert facts["training"] + facts["validation"] + facts["test"] == 35
    assert "1 of 36 pictures" in facts["note"]
    assert "white on black" in facts["note"]
    results = "--epochs", "1", "--quiet", "--run", "raw", "--results", str(tmp_path / "results")
    assert mnist("train", *given, *results)[0] == 0
    assert read_run("raw", tmp_path / "results").config.raw is True
    status, _, err = mnist("train", *given[:3], *results)
    assert status == 1  # the picture is damaged still
    status, _, err = mnist("train", "--dataset", str(folder), "--skip-unreadable", *results)
    assert status == 1
    assert "raw was started with raw True, now False; sha256" in err
    assert mnist("train", "--dataset", "digits", "--raw")[::2] == (
        2, "mnist: raw: given with the data set digits, which holds no pictures; allowed: with your own pictures only\n",
    )  # fmt: skip


def test_train_json_is_one_object(mnist: Cli, tmp_path: Path) -> None:
    found = json.loads(mnist("train", *QUICK, "--results", str(tmp_path), "--json")[1])
    assert found["dataset"] == "digits"
    assert Path(found["path"]).name == found["run"]
    assert re.fullmatch(r"\d{8}-\d{6}-fast", found["run"])
    assert 0 < found["test"]["accuracy"] <= 1


def test_predict(mnist: Cli, results: Path, seven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(seven.parent)
    status, out, _ = mnist("predict", "seven.png", "--results", str(results))
    assert status == 0
    assert "seven.png" in out
    assert re.search(r"\bdark\b", out)


def test_predict_json_keeps_the_order_and_tells_errors(mnist: Cli, results: Path, seven: Path) -> None:
    text = seven.with_name("text.png")
    text.write_text("no picture")
    status, out, _ = mnist("predict", "--json", str(text), str(seven), "nosuch.png", "--results", str(results))
    assert status == 1
    first, second, third = json.loads(out)
    assert first == {"path": str(text), "error": "not a picture: none of PNG, JPEG, AVIF, HEIF, WEBP, TIFF, GIF, BMP"}
    assert third == {"path": "nosuch.png", "error": "cannot be opened: No such file or directory"}
    assert second["path"] == str(seven)
    assert second["label"] == second["top"][0][0]
    assert second["probability"] == second["top"][0][1] < 1
    assert [share for _, share in second["top"]] == sorted((share for _, share in second["top"]), reverse=True)
    assert second["reading"]["inverted"] is True


def test_predict_says_that_a_letter_is_unlike_digits(mnist: Cli, tmp_path: Path, seven: Path) -> None:
    (letter := tmp_path / "letter.png").write_bytes(letter_on_paper())
    status, out, _ = mnist("predict", str(letter), str(seven), "--model", str(REFERENCE), "--json")
    assert status == 0
    assert [picture["unlike_digits"] for picture in json.loads(out)] == [True, False]
    _, out, _ = mnist("predict", str(letter), str(seven), "--model", str(REFERENCE))
    assert out.count("unlike the digits it was trained on") == 1
    status, out, _ = mnist("predict", str(letter), str(seven), "--digits", "many", "--model", str(REFERENCE), "--json")
    assert status == 1
    refused, number = json.loads(out)
    assert refused["error"].startswith("no digit")
    assert [digit["unlike_digits"] for digit in number["digits"]] == [False]


def test_predict_takes_the_image_from_the_environment(
    mnist: Cli, results: Path, seven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG_PATH", str(seven))
    assert json.loads(mnist("predict", "--json", "--results", str(results))[1])[0]["path"] == str(seven)


def test_predict_with_another_run_and_with_none(mnist: Cli, results: Path, seven: Path, tmp_path: Path) -> None:
    answers = [
        mnist("predict", "--json", "--model", model, str(seven), "--results", str(results))[1]
        for model in ("second", "reference")
    ]
    assert answers[0] != answers[1]
    assert mnist("predict", "--model", str(results / "second" / "model.tflite"), "--json", str(seven))[1] == answers[0]
    status, _, err = mnist("predict", str(seven), "--model", "nosuch", "--results", str(tmp_path / "empty"))
    assert err == f"mnist: no run 'nosuch' in {tmp_path / 'empty'}; there are: none yet (mnist train)\n"
    assert status == 1, err
    assert mnist("predict", "--polarity", "up", str(seven))[0] == 2


def test_predict_says_what_the_network_was_trained_on(mnist: Cli, results: Path, seven: Path) -> None:
    assert "trained on digits" in mnist("predict", str(seven), "--results", str(results))[1]


def test_a_folder_that_cannot_be_made_and_a_bad_name_are_told_before_anything_is_loaded(mnist: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = mnist("train", *QUICK, "--results", str(tmp_path / "file"))
    assert (status, len(err.splitlines())) == (1, 1)
    assert err.endswith("Check the path.\n")
    status, _, err = mnist("train", *QUICK, "--results", str(tmp_path), "--run", "../evil")
    assert (status, err.startswith("mnist: run: given '../evil'; allowed:")) == (2, True)


def test_an_explicit_folder_without_mnist_is_an_error_and_leaves_no_run(mnist: Cli, tmp_path: Path) -> None:
    status, _, err = mnist("train", "--data-dir", str(tmp_path / "typo"), "--results", str(tmp_path / "results"))
    assert status == 1
    assert str(tmp_path / "typo") in err
    assert list((tmp_path / "results").iterdir()) == []


def test_runs(mnist: Cli, results: Path, tmp_path: Path) -> None:
    status, out, _ = mnist("runs", "--results", str(results))
    assert status == 0
    assert "reference" in out
    assert "2 epochs, seed 1" in out
    rows = json.loads(mnist("runs", "--json", "--results", str(results))[1])
    assert {row["run"] for row in rows} == {"reference", "second"}
    assert rows[0]["accuracy"]["validation"] >= rows[1]["accuracy"]["validation"]
    assert "make one with: mnist train" in mnist("runs", "--results", str(tmp_path))[1]


def test_compare(mnist: Cli, results: Path) -> None:
    status, out, _ = mnist("compare", "reference", "second", "--results", str(results))
    assert status == 0
    assert re.search(r"^A  reference: .* of 144 digits validation images$", out, re.MULTILINE)
    assert re.search(r"^McNemar's exact test: p = ", out, re.MULTILINE)
    assert "Verdict: " in out
    tested = mnist("compare", "reference", "second", "--test", "--results", str(results))[1]
    assert re.search(r"^A  reference: .* of 360 digits test images$", tested, re.MULTILINE)
    found = json.loads(mnist("compare", "reference", "second", "--results", str(results), "--json")[1])
    assert (found["n"], found["part"]) == (144, "validation")
    status, _, err = mnist("compare", "reference", "nosuch", "--results", str(results))
    assert (status, err.startswith("mnist: no run 'nosuch'")) == (1, True)


def test_compare_names_the_better_one(mnist: Cli, tmp_path: Path) -> None:
    good, bad = np.arange(100) >= 0, np.arange(100) >= 30
    for name, right in ("good", good), ("bad", bad):
        write_run(fake_run(name, 0.9, test=float(right.mean())), tmp_path, correct=right)
    assert "Verdict: A is better" in mnist("compare", "good", "bad", "--results", str(tmp_path))[1]
    assert "Verdict: B is better" in mnist("compare", "bad", "good", "--results", str(tmp_path))[1]


def test_predict_shows_names_as_they_are(mnist: Cli, results: Path, seven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(seven.parent)
    for name in "[b].png", "x:y.png":
        seven.with_name(name).write_bytes(seven.read_bytes())
        monkeypatch.setenv("IMG_PATH", name)
        status, out, _ = mnist("predict", "--results", str(results))
        assert (status, name in out) == (0, True)


def test_predict_takes_folders_patterns_and_standard_input(
    mnist: Cli, results: Path, seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in "b.png", "a.PNG", "notes.txt":
        (folder / name).write_bytes(seven.read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(seven.read_bytes())))
    status, out, _ = mnist("predict", "--json", str(folder), f"{folder}/b*", "-", "--results", str(results))
    answers = json.loads(out)
    assert status == 0
    assert [answer["path"] for answer in answers] == [f"{folder}/a.PNG", f"{folder}/b.png", f"{folder}/b.png", "-"]
    assert len({answer["probability"] for answer in answers}) == 1
    (tmp_path / "empty").mkdir()
    status, out, _ = mnist("predict", "--json", str(tmp_path / "empty"), "--results", str(results))
    assert (status, json.loads(out)[0]["error"]) == (1, "cannot be opened: a folder without a picture in it")


def test_predict_explain_draws_the_steps(
    mnist: Cli, results: Path, seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    status, _, err = mnist("predict", "--explain", str(seven), "--results", str(results))
    assert (status, err) == (0, f"mnist: {seven}: the steps are in seven.steps.png\n")
    with Image.open("seven.steps.png") as strip:
        assert strip.width > 1000
    (tmp_path / "other").mkdir()
    shutil.copy(seven, tmp_path / "other")
    both = (str(seven), str(tmp_path / "other" / seven.name))
    assert mnist("predict", "--explain", *both, "--results", str(results))[0] == 0
    assert sorted(path.name for path in Path().iterdir()) == ["seven-2.steps.png", "seven.steps.png"]
    out = mnist("predict", ".", "--json", "--results", str(results))[1]  # our own drawings are no digits
    assert json.loads(out)[0]["error"] == "cannot be opened: a folder without a picture in it"


def test_predict_reads_a_number_where_a_picture_shows_several_digits(
    mnist: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sheet = drawings.Sheet((500, 200), drawings.WHITE)
    for column, label in enumerate((2, 0, 5)):
        sheet.digit(label, (60 + 140 * column, 50, 60, 100), 10, drawings.BLACK)
    Path("number.png").write_bytes(sheet.packed())
    ours = "--results", str(REFERENCE.parent)
    status, out, err = mnist("predict", "number.png", "--explain", *ours)
    assert status == 0
    assert re.search(r"number\.png +205 ", out)
    assert err.splitlines() == [
        "mnist: number.png: read as a number of 3 digits; for a single digit: --digits one",
        "mnist: number.png: the steps are in number.steps.png",
    ]
    with Image.open("number.steps.png") as drawing:
        assert drawing.width == 800
    (found,) = json.loads(mnist("predict", "number.png", "--json", *ours)[1])
    assert (found["number"], [digit["label"] for digit in found["digits"]]) == ("205", [2, 0, 5])
    assert found["reading"] == {"inverted": True, "turned": 0}
    assert "label" in json.loads(mnist("predict", "number.png", "--json", "--digits", "one", *ours)[1])[0]
    many = json.loads(mnist("predict", "number.png", "--json", "--digits", "many", *ours)[1])
    assert many == [found]
    assert mnist("predict", "number.png", "--digits", "two")[2] == "mnist: digits: given 'two'; allowed: auto, one, many\n"


def test_predict_without_a_picture(mnist: Cli) -> None:
    assert mnist("predict") == (2, "", "mnist: pictures: none given; name at least one, or set IMG_PATH\n")


def test_predict_with_stderr_closed(results: Path, seven: Path) -> None:
    command = f"{sys.executable} -m mnist_utils.cli.main predict --json --results {results} {seven} 2>&-"
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S602 - our own words
    assert json.loads(done.stdout)[0]["path"] == str(seven)


def test_show_with_a_backend_that_has_no_windows(mnist: Cli, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in "agg", "nosuch":
        monkeypatch.setenv("MPLBACKEND", backend)
        status, out, _ = mnist("show", "reference", "--results", str(results))
        assert (status, out.startswith("no window can be opened: ")) == (0, True)


def test_show_without_a_display_says_so_and_where_the_figures_are(
    mnist: Cli, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "DISPLAY", "WAYLAND_DISPLAY":
        monkeypatch.delenv(name, raising=False)
    status, out, _ = mnist("show", "reference", "--results", str(results))
    assert status == 0
    assert out.startswith("no window can be opened: there is no display. The figures are:\n")
    assert str(results / "reference" / "figures" / "confusion_matrix.png") in out


# --- what interrupts a training ---


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    # A shell's background jobs ignore Ctrl-C, and their children inherit that; the tests may run in one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "mnist_utils.cli.main", "train", "--dataset", "digits", "--run", "run", *more]
    environment = os.environ | {"MNIST_RESULTS": str(folder)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, err


def wait_for_epoch(process: subprocess.Popen[str], folder: Path) -> None:
    until = time.monotonic() + 120
    while not (folder / "run" / "checkpoint.npz").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "no epoch was finished in two minutes"
        time.sleep(0.05)


def test_kill_9_then_the_same_command_ends_with_the_same_metrics(mnist: Cli, tmp_path: Path) -> None:
    more = ("--epochs", "3", "--conv-dropout", "0.2", "--augment", "affine")
    given = ("train", "--dataset", "digits", "--run", "run", *more, "--results")
    assert mnist(*given, str(tmp_path / "undisturbed"))[0] == 0
    killed = start(tmp_path / "killed", *more)
    wait_for_epoch(killed, tmp_path / "killed")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert read_run("run", tmp_path / "killed").incomplete == "training was not finished"
    (row,) = json.loads(mnist("runs", "--json", "--results", str(tmp_path / "killed"))[1])
    assert row["epochs_done"] in (1, 2)
    listed = mnist("runs", "--results", str(tmp_path / "killed"))[1]
    assert f"run is incomplete: training was not finished ({row['epochs_done']} of 3 epochs done)" in listed
    (tmp_path / "killed" / "run" / ".writing-1-checkpoint.npz").write_text("half")
    status, _, err = mnist(*given, str(tmp_path / "killed"))
    assert status == 0, err
    assert "epoch 1/3" not in err
    assert "epoch 3/3" in err
    found = [read_run("run", tmp_path / name).trained() for name in ("undisturbed", "killed")]
    assert found[0].test == found[1].test
    assert found[0].validation == found[1].validation
    assert not list(tmp_path.rglob(".writing-*"))


def test_ctrl_c_in_mid_epoch(tmp_path: Path) -> None:
    process = start(tmp_path, "--epochs", "1000")
    wait_for_epoch(process, tmp_path)
    process.send_signal(signal.SIGINT)
    status, err = finish(process)
    assert status == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "mnist: stopped. To resume, give the same command with --run run."
    assert read_run("run", tmp_path).incomplete == "stopped by Ctrl-C"


@pytest.mark.root
@pytest.mark.parametrize("kilobytes", [0, 200, 2700])
def test_a_full_disk(tmp_path: Path, kilobytes: int) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(kilobytes, 4)}k", "none", small], check=True)
    try:
        status, err = finish(start(small, "--epochs", "1"))
        assert status == 1, err
        assert "Traceback" not in err
        assert re.fullmatch(
            r"mnist: cannot read or write.*: No space left on device\. Free some space and give the same command\.",
            err.splitlines()[-1],
        ), err
        assert not list(small.rglob("*writing*"))
        if (small / "run" / "config.json").exists():
            assert read_run("run", small).incomplete
        subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
        status, err = finish(start(small, "--epochs", "1"))
        assert status == 0, err
        assert read_run("run", small).incomplete == ""
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.mnist
def test_train_on_the_real_mnist_reaches_the_aim(mnist: Cli, real_mnist: Path) -> None:
    status, out, err = mnist("train", "--data-dir", str(real_mnist), "--run", "real", "--json")
    assert status == 0
    assert json.loads(out)["test"]["accuracy"] >= 0.992
    assert "note" not in err


# --- evaluate ---


def test_evaluate_tells_what_was_recorded(mnist: Cli, results: Path) -> None:
    status, out, _ = mnist("evaluate", "reference", "--results", str(results))
    assert status == 0
    run = read_run("reference", results)
    assert f"accuracy {run.trained().test.accuracy:>25.2%} (" in out
    assert "expected calibration error" in out
    assert re.search(
        r"^errors +\d+, by the confidence \d+: (as expected|too sure|too cautious) \(p [=<] ", out, re.MULTILINE
    )
    found = json.loads(mnist("evaluate", "reference", "--results", str(results), "--json")[1])
    assert found["run"] == "reference"
    assert found["accuracy"] == run.trained().test.accuracy


def test_evaluate_robustness_prints_a_table_and_writes_it(mnist: Cli, results: Path) -> None:
    status, out, err = mnist("evaluate", "second", "--results", str(results), "--robustness")
    assert status == 0
    rows = re.findall(r"^  (.*?)  +(clean|MNIST-C|ours)  +360 ", out, re.MULTILINE)
    assert [name for name, _ in rows][:2] == ["clean", "shot noise"]
    assert len(rows) == 21
    assert "the fifteen of MNIST-C: " in out
    assert (results / "second" / "figures" / "robustness.png").is_file()
    assert "robustness.json" in err
    assert (results / "second" / "report.html").is_file()
    found = json.loads(mnist("evaluate", "second", "--results", str(results), "--robustness", "--json")[1])
    assert len(found["rows"]) == 21


def test_evaluate_without_a_whole_run(mnist: Cli, results: Path) -> None:
    status, _, err = mnist("evaluate", "nothing", "--results", str(results))
    assert status == 1
    assert "no run 'nothing'" in err
