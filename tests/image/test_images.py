"""The images, run as their users run them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mnist_utils.data import synthetic
from mnist_utils.data.datasets import load_dataset
from tests.image.conftest import ENGINE, NAME, PODMAN, UID, Workbench, ask, docker, first_answer, wait_for, whole_runs
from tests.paths import CLONE

pytestmark = pytest.mark.image
LAB, SERVE = "mnist-workbench:lab", "mnist-workbench:serve"
HARDENED = ("--rm", "--read-only", "--tmpfs", "/tmp:exec", "--tmpfs", "/home/mnist:mode=1777", "--cap-drop", "ALL")
HUB = """
from http.server import BaseHTTPRequestHandler, HTTPServer

class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"version": "6.1.1"}')
    do_POST = do_GET

HTTPServer(("127.0.0.1", 8081), Hub).serve_forever()
"""
MODULES = """
import importlib, pkgutil, mnist_utils
for module in pkgutil.walk_packages(mnist_utils.__path__, "mnist_utils."):
    importlib.import_module(module.name)
    print(module.name)
"""


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


@pytest.mark.parametrize("options", [(), ("--user", "4321:4321")])
def test_whoever_it_runs_as_has_a_name_and_a_shell_that_finds_the_programs(options: tuple[str, ...]) -> None:
    """As Lab's terminals are: a login shell, for which /etc/profile makes a PATH of its own."""
    code = "whoami; echo $USER $SHELL; command -v mnist papermill git nano less curl; python -c 'import tensorflow'"
    done = docker("run", *HARDENED, *options, LAB, "bash", "-lc", code)
    name = NAME if options else "mnist"
    assert done.stdout.splitlines() == [
        *(name, f"{name} /bin/bash", "/opt/venv/bin/mnist", "/opt/venv/bin/papermill"),
        *(f"/usr/bin/{name}" for name in ("git", "nano", "less", "curl")),
    ]


def test_each_module_of_the_package_can_be_imported() -> None:
    done = docker("run", *HARDENED, LAB, "python3", "-c", MODULES)
    assert len(done.stdout.split()) == len(list((CLONE / "mnist_utils").rglob("*.py"))) - 1


@pytest.mark.parametrize("image", [LAB, SERVE])
def test_no_account_tells_the_day_of_the_build(image: str) -> None:
    """Two builds on both sides of midnight would differ in /etc/shadow; the base image's own accounts have its date."""
    lines = docker("run", "--rm", "--user", "0", "--entrypoint", "cat", image, "/etc/shadow").stdout.splitlines()
    changed = {name: day for name, _, day, *_ in (line.split(":") for line in lines)}
    assert changed["mnist"] == ""
    assert set(changed.values()) <= {"", changed["root"]}


def test_two_builds_of_one_commit_hold_the_same_files() -> None:
    """Of the small image, for it is built in seconds; the others are made by the same steps."""
    subprocess.run([CLONE / "tests/image/build", "serve", "again"], cwd=CLONE, env=ENGINE, check=True, timeout=600)
    engines = ["/proc/*", "/sys/*", "/dev/*", "/etc/host*", "/etc/resolv.conf"]
    find = "find / -xdev -type f " + " ".join(f"! -path '{path}'" for path in engines)
    command = ("--user", "0", "--entrypoint", "sh")
    try:
        files = [
            set(docker("run", "--rm", *command, f"{SERVE}{tag}", "-c", f"{find} -exec sha256sum {{}} +").stdout.splitlines())
            for tag in ("", "-again")
        ]
    finally:
        docker("rmi", "--force", f"{SERVE}-again")
    assert len(files[0]) > 3000
    differing = {line.split(maxsplit=1)[1] for line in files[0] ^ files[1]}
    # Python marks shared constants as its memory happens to hold them, in a file or two; dates would differ in thousands.
    assert all(name.endswith(".pyc") for name in differing), differing
    assert len(differing) < 10, differing


def test_only_what_git_tracks_is_in_the_image() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=CLONE, capture_output=True, text=True, check=True).stdout.split()
    find = "find mnist_utils notebooks results docker -type f ! -name '*.pyc'"
    found = docker("run", "--rm", "--workdir", "/workbench", LAB, "sh", "-c", find).stdout.split()
    assert len(found) > 50
    assert set(found) <= set(tracked)


@pytest.mark.parametrize("image", [LAB, SERVE])
def test_it_answers_read_only_without_network_and_as_anybody(image: str, tmp_path: Path) -> None:
    dataset = load_dataset("digits")
    (tmp_path / "digit.png").write_bytes(synthetic.encode_png(255 - dataset.x_test[0]))
    tmp_path.chmod(0o755)
    options = (*HARDENED, "--security-opt", "no-new-privileges", "--network", "none", "--user", "4321:4321")
    done = docker("run", *options, "-v", f"{tmp_path}:/pictures:ro", image, "mnist", "predict", "--json", "/pictures")
    assert json.loads(done.stdout)[0]["label"] == dataset.y_test[0]


def test_the_servers_image_is_small_and_has_neither_tensorflow_nor_jupyter() -> None:
    assert int(docker("image", "inspect", "--format", "{{ .Size }}", SERVE).stdout) <= 450e6
    assert int(docker("image", "inspect", "--format", "{{ .Size }}", LAB).stdout) <= 2.1e9
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


def test_all_notebooks_run_in_the_image(workbench: Workbench) -> None:
    parameters = yaml.safe_load((CLONE / "tests/notebooks/parameters.yaml").read_text())
    given: dict[str, object] = {"dataset": "digits"}
    for name, values in parameters.items():
        given |= {key: value for key, value in values.items() if name.startswith(("01", "04")) and key != "dataset"}
    file = workbench.path / "small.yaml"
    file.write_text(yaml.safe_dump(given))
    done = workbench.launcher("mnist", "run", "-f", "small.yaml", "--run", "all", timeout=600)
    assert done.returncode == 0, done.stderr
    folder = workbench.path / "results" / "all"
    expected = {path.name for path in (CLONE / "notebooks").glob("*.ipynb")}
    assert expected
    assert {path.name for path in folder.glob("notebooks/*.ipynb")} == expected
    assert f"{'report':19}  {folder / 'report.html'}" in done.stdout
    assert {path.stat().st_uid for path in folder.rglob("*")} == {UID}


def test_what_is_installed_stays_and_replaces_nothing(tmp_path: Path) -> None:
    """From folders, for a test has no network: pip builds a package of the one, and refuses what the other would replace."""
    for name, needs in ("own-package", ""), ("greedy-package", "numpy<2"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pyproject.toml").write_text(
            f'[build-system]\nrequires = []\nbuild-backend = "setuptools.build_meta"\n'
            f'[project]\nname = "{name}"\nversion = "1"\ndependencies = {[needs] if needs else []}\n'
        )
        (folder / f"{name.replace('-', '_')}.py").write_text("word = 'installed'\n")
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(tmp_path)], check=True)
    tmp_path.chmod(0o755)
    options = ("run", "--rm", "--read-only", "--tmpfs", "/tmp:exec", "--user", f"{UID}:{UID}", "--network", "none")
    folders = ("-v", f"{home}:/home/mnist", "-v", f"{tmp_path}:/home/mnist/work", LAB)
    pip = ("python3", "-m", "pip", "install", "--no-build-isolation")
    docker(*options, *folders, *pip, "./own-package")
    code = "import own_package, numpy; print(own_package.word, own_package.__file__, numpy.__file__)"
    word, where, numpy = docker(*options, *folders, "python3", "-c", code).stdout.split()
    assert (word, where.startswith("/home/mnist/.local/"), numpy.startswith("/opt/venv/")) == ("installed", True, True)
    refused = docker(*options, *folders, *pip, "./greedy-package", check=False)
    assert refused.returncode == 1 or PODMAN  # whose client forgets it
    assert "numpy" in refused.stderr


def test_a_hub_can_start_it() -> None:
    """What a hub sets and asks: the server comes up at its address, and sends who comes to the hub."""
    given = {
        "API_TOKEN": "secret",
        "API_URL": "http://127.0.0.1:8081/hub/api",
        "ACTIVITY_URL": "",
        "BASE_URL": "/",
        "CLIENT_ID": "jupyterhub-user-ada",
        "HOST": "",
        "OAUTH_CALLBACK_URL": "/user/ada/oauth_callback",
        "SERVER_NAME": "",
        "SERVICE_PREFIX": "/user/ada/",
        "SERVICE_URL": "http://0.0.0.0:8888/user/ada/",
        "USER": "ada",
    }
    options = [word for name, value in given.items() for word in ("-e", f"JUPYTERHUB_{name}={value}")]
    name = f"hub-{UID}"
    docker("run", "--detach", "--name", name, "-p", "127.0.0.1:18890:8888", *options, LAB)
    try:
        docker("exec", "--detach", name, "python3", "-c", HUB)
        status, _ = first_answer("http://127.0.0.1:18890/user/ada/lab")
        assert status == 302, docker("logs", name).stderr  # to the hub, to log in
        assert "02_train.ipynb" in docker("exec", name, "ls", "notebooks").stdout
    finally:
        docker("rm", "--force", name)


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
