"""The helper package that the notebooks, the command line and the server share.

Importing it loads neither TensorFlow nor matplotlib; each module imports what it needs.
"""

import os
from typing import TYPE_CHECKING

__version__: str

# While it is imported, TensorFlow writes about oneDNN, CUDA and CPU flags to stderr. Nobody can act on that, and every
# notebook would show it. The variable must be set before the import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class MnistError(Exception):
    """An error that the user can fix; its message says how. Shown without a traceback."""

    status = 1  # exit status of the command


class ConfigError(MnistError):
    """A hyper-parameter or option that is unknown or out of range."""

    status = 2


if not TYPE_CHECKING:  # otherwise a type checker would accept any attribute of this package

    def __getattr__(name: str) -> str:
        """Look up `__version__` on first use: importing importlib.metadata makes `mnist --help` a sixth slower."""
        if name == "__version__":
            from importlib.metadata import version

            return version("mnist-workbench")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
