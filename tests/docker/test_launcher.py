"""docker/lab: which screen it finds, with commands of its own for the systems that this one is not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.paths import CLONE


class Machine:
    """A machine with a clone, whose commands say what a test wants."""

    def __init__(self, path: Path) -> None:
        self.bin, self.home, self.clone = path / "bin", path / "home", path / "clone"
        self.bin.mkdir()
        self.home.mkdir()
        # Of a clone, what the launcher looks at.
        shutil.copytree(CLONE / "docker", self.clone / "docker", ignore=shutil.ignore_patterns(".env*"))
        for folder in "mnist_utils", "notebooks", "results/reference", "work":
            (self.clone / folder).mkdir(parents=True)
        for folder in "results", "work":
            (self.clone / folder).chmod(0o777)  # the tests may run as root, who is nobody there
        for name in "LICENSE", "pyproject.toml":
            shutil.copy(CLONE / name, self.clone)
        for name in "01_explore.ipynb", "README.md":
            (self.clone / "notebooks" / name).touch()
        self.launcher = self.clone / "docker" / "lab"
        (path / "sockets").mkdir()
        for number in 0, 1:
            (path / "sockets" / f"X{number}").touch()
        programs = (
            "sh basename cat chown cksum cut date dirname find git grep head id ln mkdir mktemp mv printenv readlink rm sed"
        )
        for name in (*programs.split(), "sleep", "sort", "tar", "tr"):
            found = shutil.which(name)
            assert found, name
            (self.bin / name).symlink_to(found)
        self.has("uname", "echo Linux")
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(self.home),
            "WSLG": str(path / "wslg"),
            "X11_SOCKETS": str(path / "sockets"),
            "XQUARTZ": str(path / "XQuartz"),
        }

    def has(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def has_cookie(self, display: str) -> None:
        """Have an xauth that knows a cookie for one display; the file that it merges into gets what it is given."""
        entry = "0100 0007 6d79686f7374 0001 30 0012 4d49542d4d414749432d434f4f4b49452d31 0010 00"
        self.has("xauth", f'if [ "$1" = nlist ]; then [ "$2" = {display} ] && echo {entry}; else cat > "$2"; fi')

    def is_a_mac(self, *, installed: bool = True, closed: str = "0", runs: bool = True, listens: bool = True) -> None:
        self.has("uname", "echo Darwin")
        if installed:
            Path(self.environment["XQUARTZ"]).mkdir()
        self.has("defaults", f'[ "$3" = nolisten_tcp ] && echo {closed}')
        self.has("pgrep", f"exit {0 if runs else 1}")
        self.has("nc", f"exit {0 if listens else 1}")
        self.has_cookie(":0")

    def lab(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = self.environment | environment
        return subprocess.run(
            [str(self.launcher), *words], env=variables, cwd=self.home, capture_output=True, text=True, check=False
        )

    def has_docker(self, log: Path, *, source: str = "", tensorflow: str = "") -> None:
        """Have a docker that writes down what it is asked, with an image of this source and TensorFlow, and no Lab."""
        labels = f'*source*) echo "{source}" ;; *tensorflow*) echo "{tensorflow}" ;;'
        self.has("docker", f'echo "$NB_UID:$NB_GID $*" >>{log}; case "$*" in {labels} esac')

    def display(self, **environment: str) -> str:
        done = self.lab("display", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


NONE = "windows: none ({}). Figures are inline in Lab, and in results/.\n"


def test_linux(machine: Machine) -> None:
    assert machine.display() == NONE.format("DISPLAY is not set: there is no screen here")
    assert machine.display(DISPLAY=":0") == NONE.format("xauth is missing (Debian, Ubuntu: apt install xauth)")
    machine.has_cookie(":1.0")
    assert machine.display(DISPLAY=":0") == NONE.format("xauth knows no cookie for the display :0")
    assert machine.display(DISPLAY=":1.0") == "windows: on the display :1.0\n"
    assert machine.display(DISPLAY="localhost:10.0") == NONE.format(
        "the display localhost:10.0 of ssh -X cannot be reached from a container"
    )
    machine.has_cookie("far:0")
    assert machine.display(DISPLAY="far:0") == "windows: on the display far:0\n"


def test_the_cookie_is_valid_for_any_host_and_nobody_elses_to_read(machine: Machine) -> None:
    machine.has_cookie(":1")
    machine.display(DISPLAY=":1")
    cookie = machine.home / ".cache/mnist-workbench/display-_1/cookie"
    assert cookie.read_text().startswith("ffff 0007")
    assert cookie.stat().st_mode & 0o777 == 0o600
    assert cookie.parent.stat().st_mode & 0o777 == 0o700


def test_wsl(machine: Machine) -> None:
    (Path(machine.environment["WSLG"]) / ".X11-unix").mkdir(parents=True)
    assert machine.display(DISPLAY=":0") == "windows: on the display :0\n"


def test_macos_says_which_switch_is_off(machine: Machine) -> None:
    machine.is_a_mac(installed=False)
    assert "XQuartz is not installed: brew install --cask xquartz" in machine.display()
    machine.is_a_mac(closed="1")
    assert "'Allow connections from network clients', then quit and start it" in machine.display()
    machine.has("defaults", "exit 1")  # it was never set, which means closed
    assert "does not listen to network clients" in machine.display()
    machine.has("defaults", "echo 0")
    machine.has("pgrep", "exit 1")
    assert "XQuartz does not run: open -a XQuartz" in machine.display()
    machine.has("pgrep", "exit 0")
    machine.has("nc", "exit 1")
    assert "nothing listens on port 6000" in machine.display()
    machine.has("nc", "exit 0")
    assert machine.display() == "windows: on the display host.docker.internal:0\n"


def test_docker_that_is_missing_or_silent(machine: Machine) -> None:
    done = machine.lab()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("docker/lab: docker is missing;")
    assert "make lab" in done.stderr
    machine.has("docker", "exit 1")
    assert "docker does not answer; start Docker Desktop" in machine.lab("train").stderr
    machine.has("docker", '[ "$1" = info ]')
    assert "docker has no compose" in machine.lab("shell").stderr


def test_a_word_that_it_does_not_know(machine: Machine) -> None:
    done = machine.lab("nosuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "docker/lab: given nosuch; allowed: start, stop, mnist, shell, train, show, doctor, build, display, "
        "or nothing to start Lab; a command of mnist: docker/lab mnist nosuch\n"
    )


def test_help_lists_the_commands(machine: Machine) -> None:
    out = machine.lab("--help").stdout
    assert out.startswith("JupyterLab and the rest of the workbench in a container")
    for word in "start", "stop", "mnist", "shell", "train -p epochs 3", "show RUN", "doctor", "build", "display":
        assert f"docker/lab {word}" in out


def test_it_builds_only_what_changed_and_trains_as_the_caller(machine: Machine) -> None:
    log = machine.home / "log"
    source = machine.lab("source").stdout.strip()
    machine.has_docker(log, source="old")
    assert machine.lab("train", "-p", "epochs", "3", SUDO_UID="7", SUDO_GID="8").returncode == 0
    said = log.read_text().splitlines()
    caller = "7:8" if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    assert any(line.startswith(f"{caller} build ") and f"source={source}" in line for line in said), said
    assert said[-1].endswith("run --rm -T train -p epochs 3")
    log.unlink()
    machine.has_docker(log, source=source)
    assert machine.lab("train", SUDO_UID="7", SUDO_GID="8").returncode == 0
    assert not any(" build " in line for line in log.read_text().splitlines())
    if os.getuid() == 0:
        machine.lab("train")
        assert log.read_text().splitlines()[-1].startswith("1000:1000 ")
    (machine.clone / "notebooks" / "photo.jpg").touch()  # goes into no image
    assert machine.lab("source").stdout.strip() == source
    (machine.clone / "mnist_utils" / "new.py").touch()
    assert machine.lab("source").stdout.strip() != source


def test_a_tensorflow_that_was_asked_for_once_is_remembered(machine: Machine) -> None:
    log = machine.home / "log"
    source = machine.lab("source").stdout.strip()

    def asked(*words: str, tensorflow: str) -> tuple[list[str], str]:
        log.unlink(missing_ok=True)
        machine.has_docker(log, source=source, tensorflow=tensorflow)
        assert machine.lab(*words).returncode == 0
        lines = log.read_text().splitlines()
        return [line for line in lines if " build " in line], lines[-1]

    cuda = "tensorflow[and-cuda]==2.21.*"
    builds, last = asked("--gpu", "train", tensorflow="")
    assert f"--label tensorflow={cuda}" in builds[0]
    assert f"--build-arg TENSORFLOW={cuda}" in builds[0]
    assert "compose.gpu.yaml" in last
    builds, last = asked("train", tensorflow=cuda)
    assert builds == []
    assert "compose.gpu.yaml" in last
    builds, last = asked("--cpu", "train", tensorflow=cuda)
    assert "--build-arg TENSORFLOW= " in builds[0]
    assert "compose.gpu.yaml" not in last
    (machine.clone / "mnist_utils" / "new.py").touch()  # an automatic build
    builds, _ = asked("train", tensorflow=cuda)
    assert f"--build-arg TENSORFLOW={cuda}" in builds[0]


def test_only_what_git_tracks_goes_into_an_image(machine: Machine, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a", "-C", str(machine.clone)]
    for words in ["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]:
        subprocess.run([*git, *words], check=True)
    (machine.clone / "pyproject.toml").write_text("changed")
    (machine.clone / "notebooks" / "mine.ipynb").touch()
    (machine.clone / "docker" / "address").unlink()
    context = tmp_path / "context"
    context.mkdir()
    done = machine.lab("context", str(context))
    assert done.returncode == 0
    assert done.stderr == "docker/lab: not in the image, for git does not track it (git add): notebooks/mine.ipynb \n"
    assert (context / "pyproject.toml").read_text() == "changed"
    found = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    assert {"docker/Dockerfile", "docker/lab"} < found
    assert not {"notebooks/mine.ipynb", "docker/address"} & found


def test_a_proxy_is_passed_on_in_both_spellings(machine: Machine) -> None:
    machine.has("docker", 'case "$*" in *"run --rm"*) echo "$HTTPS_PROXY $https_proxy $NO_PROXY" ;; esac')
    assert machine.lab("train", https_proxy="http://p:1", NO_PROXY="here").stdout == "http://p:1 http://p:1 here\n"


def test_compose_by_hand_means_the_same_lab(machine: Machine, tmp_path: Path) -> None:
    source = machine.lab("source").stdout.strip()
    machine.has(
        "docker",
        f'case "$*" in *source*) echo "{source}" ;; "exec "*address) echo http://there ;; *run*cat*) cat ;; esac',
    )
    odd = tmp_path / 'it\'s "$5" \\ old'
    done = machine.lab("start", "--a=b c", "--d='", MNIST_WORK=str(odd), LAB_PORT="8889")
    assert done.returncode == 0, done.stderr
    settings = (machine.clone / "docker" / ".env").read_text()
    assert f'MNIST_CLONE="{machine.clone}"' in settings
    escaped = str(odd).replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert f'MNIST_WORK="{escaped}"' in settings
    assert 'LAB_PORT="8889"' in settings
    assert re.search(r'^COMPOSE_PROJECT_NAME="mnist-workbench-\d+-\d+"$', settings, re.MULTILINE)
    line = re.search(r'^LAB_ARGS="(.*)"$', settings, re.MULTILINE)
    assert line
    assert shlex.split(line[1].replace("\\\\", "\\")) == ["--a=b c", "--d='"]
    assert (odd / "results").readlink() == machine.clone / "results"


def test_called_by_a_link_and_from_a_moved_clone(machine: Machine, tmp_path: Path) -> None:
    link = tmp_path / "bin" / "workbench"
    link.symlink_to(machine.launcher)
    done = subprocess.run([link, "source"], env=machine.environment, capture_output=True, text=True, check=True)
    assert done.stdout == machine.lab("source").stdout
    source = done.stdout.strip()
    machine.has("docker", f'case "$*" in *source*) echo "{source}" ;; "exec "*address) echo http://there ;; esac')
    assert machine.lab().returncode == 0
    assert (machine.clone / "work" / "results").readlink() == Path("../results")


def test_another_folder_than_the_one_that_lab_runs_in_is_said(machine: Machine) -> None:
    source = machine.lab("source").stdout.strip()
    results = f"echo MNIST_RESULTS={machine.clone}/results"
    inspect = f"*source*) echo {source} ;; *WorkingDir*) echo /other ;; *Env*) echo LAB_PORT=8888; {results} ;;"
    answers = f'"ps "*) echo c0ffee ;; "exec "*address) echo http://there ;; {inspect}'
    machine.has("docker", f'case "$*" in {answers} esac')
    said = machine.lab("start", "--debug", LAB_PORT="8889").stderr.splitlines()
    assert [line.partition(";")[0] for line in said] == [
        f"docker/lab: this Lab works in /other, not in {machine.clone}/work",
        "docker/lab: this Lab was not started with LAB_PORT=8889",
        "docker/lab: this Lab runs without --debug",
    ]


def test_what_the_launcher_asks_itself_takes_nothing_of_a_commands_input(machine: Machine) -> None:
    machine.has("xauth", "true")  # no cookie: it tries whether a window opens without
    source = machine.lab("source").stdout.strip()
    machine.has("docker", f'case "$*" in *source*) echo "{source}" ;; *tkinter*) cat >&2 ;; *"command bash"*) cat ;; esac')
    done = subprocess.run(
        [machine.launcher, "shell", "-c", "cat"],
        env=machine.environment | {"DISPLAY": ":0"},
        cwd=machine.home,
        input="words",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "words"


def test_a_running_lab_is_left_alone(machine: Machine) -> None:
    log = machine.home / "log"
    machine.has("docker", f'echo "$*" >> {log}; case "$*" in "ps "*) echo c0ffee ;; *address) echo http://there ;; esac')
    done = machine.lab()
    assert done.returncode == 0
    assert done.stdout == "http://there\ndocker/lab stop ends it.\n"
    assert not re.search(r"\b(up|build)\b", log.read_text())
    machine.lab("doctor")
    assert "exec c0ffee mnist doctor" in log.read_text()


def test_the_data_folder_is_given_whole(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    machine.has("docker", 'case "$*" in *"run --rm"*) echo "$MNIST_DATA_DIR" ;; esac')
    command = f"cd '{tmp_path}' && MNIST_DATA_DIR=data '{machine.launcher}' train"
    done = subprocess.run(["sh", "-c", command], env=machine.environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/data\n"
    missing = machine.lab("train", MNIST_DATA_DIR="nosuch")
    assert (missing.returncode, missing.stderr) == (
        1,
        "docker/lab: MNIST_DATA_DIR: given a folder that is not there: nosuch\n",
    )


def test_a_display_that_is_gone_takes_no_other_ones_cookie(machine: Machine) -> None:
    machine.has_cookie(":1")
    machine.display(DISPLAY=":1")
    assert machine.display(DISPLAY=":7") == NONE.format("no X server listens on the display :7")
    assert (machine.home / ".cache/mnist-workbench/display-_1/cookie").stat().st_size > 0


def test_each_clone_has_its_own_lab(machine: Machine, tmp_path: Path) -> None:
    machine.has("docker", 'case "$*" in *"run --rm"*) echo "$COMPOSE_PROJECT_NAME" ;; esac')
    shutil.copytree(machine.clone, tmp_path / "other")
    other = subprocess.run(
        [tmp_path / "other/docker/lab", "train"], env=machine.environment, capture_output=True, text=True, check=True
    )
    names = {machine.lab("train").stdout, other.stdout}
    assert len(names) == 2
    assert all(re.fullmatch(r"mnist-workbench-\d+-\d+\n", name) for name in names)
