"""docker/lab and docker compose, as a person uses them: in a clone with a space and an umlaut in its path, as uid 4321."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from mnist_utils.data import synthetic
from mnist_utils.data.datasets import load_dataset
from tests.image.conftest import (
    NAME,
    UID,
    Workbench,
    ask,
    docker,
    end,
    first_answer,
    new_clone,
    remove_containers,
    whole_runs,
)

pytestmark = pytest.mark.image


@pytest.fixture
def desk(workbench: Workbench) -> Path:
    """Make a folder of the person's own, elsewhere, with a picture."""
    folder = workbench.path.with_name("désk 2")
    folder.mkdir(exist_ok=True)
    (folder / "digit.png").write_bytes(synthetic.encode_png(255 - load_dataset("digits").x_test[0]))
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(folder)], check=True)
    return folder


def test_commands_run_in_the_current_folder_and_write_there_and_name_it(workbench: Workbench, desk: Path) -> None:
    done = workbench.launcher("mnist", "predict", "--explain", "--json", "digit.png", cwd=desk)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["label"] == load_dataset("digits").y_test[0]
    assert (desk / "digit.steps.png").stat().st_uid == UID
    done = workbench.launcher("shell", "-c", "pwd; mnist export reference --format litert; id -un", cwd=desk)
    assert done.stdout.splitlines()[0] == str(desk), done.stderr
    assert done.stdout.splitlines()[-1] == NAME
    assert list((desk / "exported").rglob("*.tflite"))
    done = workbench.launcher("mnist", "runs", "--json", cwd=desk)
    assert json.loads(done.stdout)[0]["path"] == str(workbench.path / "results" / "reference")


def test_one_notebook_by_papermill_in_the_clone(workbench: Workbench) -> None:
    command = "papermill --no-progress-bar notebooks/02_train.ipynb out.ipynb -p dataset digits -p run by-papermill"
    done = workbench.launcher("shell", "-c", command, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (workbench.path / "out.ipynb").stat().st_uid == UID
    assert whole_runs(workbench)["by-papermill"]["test"]["accuracy"] > 0.5  # type: ignore[index]


def test_a_folder_that_the_container_needs_itself_is_refused(workbench: Workbench) -> None:
    done = workbench.launcher("mnist", "runs", cwd=Path("/usr"))
    assert (done.returncode, done.stderr) == (
        1,
        "docker/lab: /usr is also a folder of the container's own; work in another one\n",
    )


def test_the_image_knows_its_commit_and_a_run_keeps_it(workbench: Workbench) -> None:
    args = ("train", "--dataset", "digits", "--epochs", "1", "--run", "commit", "--quiet")
    done = workbench.launcher("mnist", *args, timeout=240)
    assert done.returncode == 0, done.stderr
    folder = workbench.path / "results" / "commit"
    assert f"{'run':19}  {folder}" in done.stdout
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    found = json.loads((folder / "config.json").read_text())["git_commit"]
    assert found.rstrip("+") == head, "the image is older than HEAD: tests/image/build lab"


def test_starting_again_tells_the_same_address_and_by_hand_it_is_the_same_lab(lab: str, workbench: Workbench) -> None:
    again = workbench.launcher()
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, lab)
    assert workbench.compose("exec", "-T", "lab", "address").stdout.strip() == lab
    assert "changed since" not in again.stderr
    script = workbench.path / "mnist_utils" / "__init__.py"
    text = script.read_text()
    script.write_text(text + "\n")
    try:
        assert "the source has changed since this Lab was built" in workbench.launcher().stderr
    finally:
        script.write_text(text)


@pytest.mark.usefixtures("lab")
def test_no_warning_at_a_start(workbench: Workbench) -> None:
    done = workbench.compose("up", "--detach", "--no-build", "lab")
    assert "was created for" not in done.stderr + done.stdout
    assert "warn" not in (done.stderr + done.stdout).lower()


@pytest.mark.usefixtures("lab")
def test_health_is_that_of_what_runs(workbench: Workbench) -> None:
    name = workbench.compose("ps", "--quiet", "lab").stdout.strip()
    docker("exec", name, "healthy")
    done = docker("run", "--rm", "mnist-workbench:lab", "healthy")  # nothing serves there
    assert done.returncode == 0


_HANG = """
import glob, json, os, signal
os.kill(json.load(open(glob.glob("/tmp/jupyter/jpserver-*.json")[0]))["pid"], signal.SIGSTOP)
"""


def test_arguments_for_lab_and_another_base_url_are_healthy(other: Workbench) -> None:
    done = other.launcher("start", "--ServerApp.base_url=/desk/")
    assert done.returncode == 0, done.stderr
    address = done.stdout.splitlines()[0]
    assert address.startswith("http://127.0.0.1:18899/desk/?token=")
    assert ask(address)[0] in (200, 302)
    name = other.compose("ps", "--quiet", "lab").stdout.strip()
    docker("exec", name, "healthy")
    docker("exec", name, "python3", "-c", _HANG)
    hanging = docker("exec", name, "healthy", check=False)
    assert hanging.returncode == 1
    assert "timed out" in hanging.stderr
    begun = time.monotonic()
    said = other.launcher()
    assert said.returncode == 1
    assert "Lab does not answer; the end of its log is above. docker/lab stop ends it" in said.stderr
    assert time.monotonic() - begun < 60


def test_a_command_beside_lab_is_not_taken_for_it(other: Workbench) -> None:
    shell = other.start(other.path / "docker" / "lab", "shell", "-c", "echo begun; sleep 300")
    try:
        assert shell.stdout
        assert shell.stdout.readline() == "begun\n"
        done = other.launcher()
        assert (done.returncode, done.stdout.startswith("http://127.0.0.1:18899/?token=")) == (0, True), done.stderr
        assert other.launcher().stdout.splitlines()[0] == done.stdout.splitlines()[0]
        assert other.compose("exec", "-T", "lab", "address").stdout == done.stdout.splitlines(keepends=True)[0]
        stopped = other.launcher("stop").stdout.splitlines()
        assert stopped[0] == "Lab is stopped."
        assert re.fullmatch(r"Still running, of other commands: \S+ \(docker stop NAME ends one\)", stopped[1])
        assert other.launcher("stop").stdout.startswith("No Lab of this clone runs.")
    finally:
        remove_containers(other)
        shell.communicate(timeout=30)


@pytest.mark.usefixtures("lab")
def test_a_port_that_is_taken_is_said_and_nothing_is_left_over(other: Workbench) -> None:
    done = other.launcher(LAB_PORT="18888")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "docker/lab: port 18888 is taken; choose another: LAB_PORT=8889 docker/lab\n"
    assert other.compose("ps", "--all", "--quiet", "lab").stdout == ""


def test_a_folder_of_somebody_else_is_said_before_lab_starts(other: Workbench) -> None:
    subprocess.run(["chown", "0:0", str(other.path / "work")], check=True)
    done = other.launcher()
    assert done.returncode == 1
    assert done.stderr == (
        f"docker/lab: {other.path}/work cannot be written by user {UID}, as whom the container runs: "
        f"sudo chown -R {UID} '{other.path}/work'\n"
    )


def test_a_colon_in_the_path(tmp_path: Path) -> None:
    clone = new_clone(tmp_path / "a:b", LAB_PORT="18897")
    try:
        done = clone.launcher("mnist", "runs", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["path"] == f"{clone.path}/results/reference"
    finally:
        end(clone)


def test_the_time_is_the_hosts(workbench: Workbench) -> None:
    done = workbench.launcher("shell", "-c", "date +%Z%z", TZ="Asia/Kathmandu")
    assert done.stdout.strip() == "+0545+0545"
    assert workbench.launcher("shell", "-c", "touch shared; stat -c %a shared", NB_UMASK="002").stdout.strip() == "664"


def test_a_proxy_and_its_certificates_are_passed_on(workbench: Workbench, tmp_path: Path) -> None:
    bundle = tmp_path / "proxy.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nof a proxy\n-----END CERTIFICATE-----\n")
    tmp_path.chmod(0o755)
    code = 'echo $HTTPS_PROXY $https_proxy $NO_PROXY; grep -c CERT $SSL_CERT_FILE; tail -n 2 "$PIP_CERT"'
    done = workbench.launcher("shell", "-c", code, CA_BUNDLE=str(bundle), https_proxy="http://proxy:3128", NO_PROXY="intern")
    proxies, count, *last = done.stdout.splitlines()
    assert proxies == "http://proxy:3128 http://proxy:3128 intern,localhost,127.0.0.1,::1", done.stderr
    assert int(count) > 200  # the image's own are still there
    assert last == ["of a proxy", "-----END CERTIFICATE-----"]
    missing = workbench.launcher("mnist", "runs", CA_BUNDLE="/nosuch")
    assert (missing.returncode, missing.stderr) == (1, "docker/lab: CA_BUNDLE: given a file that cannot be read: /nosuch\n")


def test_serving_by_the_launcher_answers_on_this_machine(workbench: Workbench, desk: Path) -> None:
    process = workbench.start(workbench.path / "docker" / "lab", "mnist", "serve", cwd=desk)
    try:
        status, text = first_answer("http://127.0.0.1:15000/readyz", process)
        assert status == 200, text
    finally:
        names = docker("ps", "--quiet", "--filter", "name=command-run").stdout.split()
        for name in names:
            docker("rm", "--force", name)
        process.communicate(timeout=30)
    assert len(names) == 1


def test_the_earlier_systems_way_keeps_the_results(desk: Path) -> None:
    command = "mnist train --dataset digits --epochs 1 --run kept --quiet"
    options = ("--rm", "--user", f"{UID}:{UID}", "-v", f"{desk}:/t", "-w", "/t")
    docker("run", *options, "mnist-workbench:lab", "bash", "-c", command, timeout=240)
    assert json.loads((desk / "results" / "kept" / "metrics.json").read_text())["test"]["accuracy"] > 0.5


def test_help_names_what_there_is(workbench: Workbench) -> None:
    said = workbench.launcher("--help").stdout
    for name in re.findall(r"docker/lab ([a-z]+)", said):
        assert name in ("start", "stop", "mnist", "shell", "train", "show", "doctor", "build", "display")
