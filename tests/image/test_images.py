"""The images, run as their users run them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_utils import paper
from mnist_utils.data import load_dataset
from tests.image.conftest import UID, Workbench, ask, docker, wait_for, whole_runs

pytestmark = pytest.mark.image
LAB, SERVE = "mnist-workbench:lab", "mnist-workbench:serve"
HARDENED = ("--rm", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/home/mnist:mode=1777", "--cap-drop", "ALL")


@pytest.mark.parametrize(
    ("image", "options", "uid"),
    [
        (LAB, (), 1000),
        (SERVE, (), 1000),
        (LAB, ("--user", "4321:4321"), 4321),
        (LAB, ("--user", "root", "-e", "NB_UID=4321", "-e", "NB_GID=4322"), 4321),
        (LAB, ("--user", "root"), 1000),
    ],
)
def test_it_never_runs_as_root(image: str, options: tuple[str, ...], uid: int) -> None:
    assert docker("run", "--rm", *options, image, "id", "-u").stdout == f"{uid}\n"


@pytest.mark.parametrize("image", [LAB, SERVE])
def test_it_answers_read_only_without_network_and_as_anybody(image: str, tmp_path: Path) -> None:
    dataset = load_dataset("digits")
    (tmp_path / "digit.png").write_bytes(paper.encode(255 - dataset.x_test[0]))
    tmp_path.chmod(0o755)
    options = (*HARDENED, "--security-opt", "no-new-privileges", "--network", "none", "--user", "4321:4321")
    done = docker("run", *options, "-v", f"{tmp_path}:/pictures:ro", image, "mnist", "predict", "--json", "/pictures")
    assert json.loads(done.stdout)[0]["label"] == dataset.y_test[0]


def test_the_servers_image_is_small_and_has_neither_tensorflow_nor_jupyter() -> None:
    assert int(docker("image", "inspect", "--format", "{{ .Size }}", SERVE).stdout) <= 500e6
    code = "import importlib.util as i; print([n for n in ('tensorflow', 'keras', 'jupyterlab', 'pip') if i.find_spec(n)])"
    assert docker("run", "--rm", SERVE, "python3", "-c", code).stdout == "[]\n"


def test_no_certificate_of_the_machine_that_built_it_stays() -> None:
    for image in LAB, SERVE:
        done = docker(
            "run", "--rm", image, "sh", "-c", "ls -A /run/secrets /usr/local/share/ca-certificates 2>/dev/null; true"
        )
        assert not [line for line in done.stdout.split() if not line.endswith(":")]


def test_the_server_answers_as_the_readme_says(workbench: Workbench, tmp_path: Path) -> None:
    workbench.compose("up", "--detach", "--no-build", "serve")
    wait_for("http://127.0.0.1:15000/readyz")
    digit = load_dataset("digits").x_test[0]
    answers = []
    for name, pixels in ("white_on_black", digit), ("black_on_white", 255 - digit):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        curl = ["curl", "-sS", "--noproxy", "*", "-F", f"image=@{tmp_path / name}.png", "http://127.0.0.1:15000/predict"]
        answers.append(json.loads(subprocess.run(curl, capture_output=True, check=True).stdout))
    assert answers[0] == answers[1]
    assert answers[0]["Success"] is True
    assert answers[0]["Predictions"][0]["Label"] == load_dataset("digits").y_test[0]
    container = workbench.compose("ps", "--quiet", "serve").stdout.strip()
    check = docker("inspect", "--format", "{{ json .Config.Healthcheck.Test }}", container).stdout
    command = json.loads(check)[1:]
    docker("exec", container, *command)  # what the engine asks now and then
    begun = time.monotonic()
    docker("stop", container)
    assert time.monotonic() - begun < 3
    assert docker("inspect", "--format", "{{ .State.ExitCode }}", container).stdout.strip() == "0"


def test_training_writes_into_the_mounted_results_as_the_caller(workbench: Workbench) -> None:
    words = ("run", "--rm", "train", "--run", "from-compose", "-p", "dataset", "digits", "-p", "epochs", "1")
    workbench.compose(*words, timeout=300)
    run = workbench.path / "results" / "from-compose"
    assert whole_runs(workbench)["from-compose"]["test"]["accuracy"] > 0.5  # type: ignore[index]
    owners = {path.stat().st_uid for path in [run, *run.rglob("*")]}
    assert owners == {UID}


def test_a_stop_in_the_middle_of_training_loses_nothing(workbench: Workbench) -> None:
    train = ("run", "--detach", "lab", "mnist", "train", "--dataset", "digits", "--epochs", "400", "--run", "stopped")
    container = workbench.compose(*train).stdout.strip().splitlines()[-1]
    checkpoint = workbench.path / "results" / "stopped" / "checkpoint.npz"
    until = time.monotonic() + 90
    while not checkpoint.exists():
        assert time.monotonic() < until, docker("logs", container).stderr
        time.sleep(0.2)
    begun = time.monotonic()
    docker("stop", container)
    assert time.monotonic() - begun < 3
    docker("rm", container)
    with np.load(checkpoint) as archive:  # whole: it is written beside, then renamed
        epochs = len(json.loads(str(archive["state"]))["history"])
    assert 0 < epochs < 400
    assert "stopped" not in whole_runs(workbench)
    listed = workbench.compose("run", "--rm", "lab", "mnist", "runs", timeout=60).stdout
    assert re.search(r"stopped.*incomplete", listed), listed


def test_lab_wants_the_token_and_the_log_does_not_tell_it(lab: str, workbench: Workbench) -> None:
    token = lab.partition("token=")[2]
    assert len(token) >= 32
    contents = "http://127.0.0.1:18888/api/contents/notebooks"
    assert ask(contents)[0] == 403
    assert ask(contents, Authorization="token wrong")[0] == 403
    status, text = ask(contents, Authorization=f"token {token}")
    assert status == 200
    assert "02_train.ipynb" in text
    logs = workbench.compose("logs", "lab")
    assert "token=..." in logs.stdout + logs.stderr  # Jupyter's own words
    assert token not in logs.stdout + logs.stderr
    published = workbench.compose("port", "lab", "8888").stdout.strip()
    assert published == "127.0.0.1:18888"
    told = workbench.compose("exec", "-T", "lab", "mnist", "doctor", "lab", "results", "python").stdout
    assert told.count("ok ") == 3, told


def test_lab_stops_within_three_seconds(workbench: Workbench) -> None:
    workbench.compose("run", "--detach", "--name", f"stop-{UID}", "lab")
    try:
        until = time.monotonic() + 30
        while docker("exec", f"stop-{UID}", "address", check=False).returncode:
            assert time.monotonic() < until
            time.sleep(0.3)
        begun = time.monotonic()
        docker("stop", f"stop-{UID}")
        assert time.monotonic() - begun < 3
    finally:
        docker("rm", "--force", f"stop-{UID}")
