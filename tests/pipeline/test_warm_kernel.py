from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import pytest
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook

from mnist_utils.pipeline import warm_kernel
from mnist_utils.pipeline.execute import use_this_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are copied on Linux only: see cluster.compute")


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", warm_kernel.NAME)
    KernelProvisionerFactory.clear_instance()  # which reads the name once in a process, and other tests start kernels too
    with use_this_environment():
        yield
    KernelProvisionerFactory.clear_instance()


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    if warm_kernel._warm:
        warm_kernel._warm.kill()
        warm_kernel._warm.communicate()


def execute(*sources: str, **options: Any) -> list[Any]:
    """Execute code in a new kernel; return each cell's outputs."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60, **options).execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_kernel_is_a_process_of_its_own_with_everything_imported() -> None:
    (first,), (imported,) = execute("import os, sys\nfirst = os.getpid()\nfirst", "'tensorflow' in sys.modules")
    (other,) = execute("import os\n(os.getpid(), os.getpgid(0) == os.getpid(), 'first' in globals())")[0]
    assert imported.data["text/plain"] == "True"
    pid, leads, sees = eval(other.data["text/plain"])  # noqa: S307 - our own output
    assert pid not in (int(first.data["text/plain"]), os.getpid())
    assert leads
    assert not sees


def test_it_has_the_environment_and_folder_that_it_was_started_with(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THIS_ONE", "yes")
    first = execute("import os\nos.environ.get('OF_THIS_ONE'), os.getcwd()", resources={"metadata": {"path": str(tmp_path)}})
    monkeypatch.delenv("OF_THIS_ONE")
    second = execute("import os\nos.environ.get('OF_THIS_ONE')or 'no'")
    assert eval(first[0][0].data["text/plain"]) == ("yes", str(tmp_path))  # noqa: S307 - our own output
    assert second[0][0].data["text/plain"] == "'no'"


def test_figures_are_drawn_into_the_notebook() -> None:
    (outputs,) = execute("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert "image/png" in outputs[0].data


def test_tensorflow_works_in_a_copy() -> None:
    (outputs,) = execute("from mnist_utils.training.backend import ops\nfloat(ops.sum(ops.ones((3, 4)) @ ops.ones((4, 2))))")
    assert outputs[0].data["text/plain"] == "24.0"


def test_an_error_and_a_death_are_told_of_as_ever() -> None:
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute("1 / 0")
    with pytest.raises(DeadKernelError):
        execute("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")


def test_a_dead_warm_process_is_replaced_and_takes_its_kernels_with_it(tmp_path: Path) -> None:
    execute("1")
    warm = warm_kernel._warm
    assert warm is not None
    # One that waits for somebody to talk to it. It deletes its connection file in the end, so that must be its own.
    kernel = warm_kernel._copy(["-f", str(tmp_path / "connection.json")], dict(os.environ), str(tmp_path))
    assert warm_kernel._Kernel(kernel).poll() is None
    warm.send_signal(signal.SIGKILL)
    warm.wait()
    end = time.monotonic() + 20
    while warm_kernel._Kernel(kernel).poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    assert warm_kernel._Kernel(kernel).poll() is not None
    assert execute("1 + 1")[0][0].data["text/plain"] == "2"
    assert warm_kernel._warm is not warm
