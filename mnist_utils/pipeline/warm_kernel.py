"""Notebook kernels that start in a moment: copies of a process that has imported TensorFlow and never used it.

Each kernel is a process of its own, as any other: what a notebook does, the next does not see. Only the seconds of starting
Python and importing are paid once. Jupyter starts its kernels this way where ``JUPYTER_DEFAULT_PROVISIONER_NAME`` is
``mnist-warm``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

NAME = "mnist-warm"

# OpenBLAS starts its threads when it is imported, and a copy would have none of them; matplotlib chooses its backend then.
_WHEN_IMPORTED = {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}


class Provisioner(LocalProvisioner):
    """Jupyter's way to start a kernel, with another start."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel as a copy of the warm process, which is started first where there is none yet."""
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        self.pid = self.pgid = _copy(arguments, kwargs["env"], str(kwargs.get("cwd") or Path.cwd()))
        self.process = _Kernel(self.pid)  # type: ignore[assignment]
        self.cwd = kwargs.get("cwd")
        return self.connection_info


class _Kernel:
    """As much of `subprocess.Popen` as Jupyter asks of a kernel's process. It is no child of this one, so has no status."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """Return None while it is alive."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 1
        return None

    def wait(self) -> int:
        """Return at once: Jupyter only asks where `poll` said that it ended."""
        return 1

    def send_signal(self, number: int) -> None:
        """Send a signal, as Jupyter does where the kernel has no group of its own any more."""
        os.kill(self.pid, number)


_lock = threading.Lock()
_warm: subprocess.Popen[str] | None = None


def _copy(arguments: list[str], environment: dict[str, str], folder: str) -> int:
    """Have the warm process make a copy of itself that becomes a kernel; return its process number."""
    global _warm
    order = json.dumps({"arguments": arguments, "environment": environment, "folder": folder})
    with _lock:
        if _warm is None or _warm.poll() is not None:
            _close()
            _warm = subprocess.Popen(
                [sys.executable, "-m", "mnist_utils.pipeline.warm_kernel"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the command that asked, not for it
                env=environment | _WHEN_IMPORTED,
            )
        with contextlib.suppress(BrokenPipeError):
            print(order, file=_warm.stdin, flush=True)
        answer = _warm.stdout.readline() if _warm.stdout else ""
        if not answer:
            raise RuntimeError("the process that kernels are copied from died")  # as Jupyter where a kernel never answered
        return int(answer)


def _close() -> None:
    """Close the pipes to a warm process that is dead."""
    for pipe in (_warm.stdin, _warm.stdout) if _warm else ():
        if pipe:
            with contextlib.suppress(BrokenPipeError):  # an order that it never read
                pipe.close()


# --- in the warm process ----------------------------------------------------------------------------------


def main() -> None:
    """Import what the notebooks import; then make a kernel for each line of standard input, until that ends."""
    import IPython.display  # noqa: F401
    import matplotlib.figure
    import matplotlib.pyplot
    import sklearn.metrics
    import sklearn.model_selection  # noqa: F401
    from ipykernel import ipkernel, kernelapp  # noqa: F401

    from mnist_utils.training import fit  # noqa: F401

    # Finds the fonts. Not by pyplot: its backend would be chosen before there is an IPython that could show a figure.
    matplotlib.figure.Figure().savefig(os.devnull, format="png")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the kernels
    for order in _lines(sys.stdin):
        if pid := os.fork():
            print(pid, flush=True)
        else:
            _become_kernel(**json.loads(order))


def _lines(file: IO[str]) -> Iterator[str]:
    # Not `for line in file`, which reads ahead: a copy would inherit other kernels' orders.
    while line := file.readline():
        yield line


def _become_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    from ipykernel import kernelapp

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in 0, 1:  # the pipes of the warm process: its end must be noticed, and its answers kept apart
        os.dup2(nothing, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    arguments = [*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"]  # it ends when the warm process does
    sys.argv = ["ipykernel_launcher", *arguments]
    kernelapp.launch_new_instance(argv=arguments)
    os._exit(0)


if __name__ == "__main__":
    main()
