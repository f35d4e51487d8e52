"""The small helper package that the notebooks, the command line and the server share.

Importing it loads neither TensorFlow nor matplotlib; each module imports what it needs.
"""

import os
from typing import TYPE_CHECKING

__version__: str

# TensorFlow tells of oneDNN, CUDA and CPU flags on stderr while it is imported: nobody can act on it, and it
# would stand in every notebook. It must be set before the import, and this runs before any of ours.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class MnistError(Exception):
    """What a person did or met that stops the work; its text says what to do. Shown without a traceback."""

    status = 1  # of the command that it ends


class ConfigError(MnistError):
    """A hyper-parameter or option that is unknown or out of range."""

    status = 2


if not TYPE_CHECKING:  # a type checker would take any name for one of this package

    def __getattr__(name: str) -> str:
        """Look up `__version__` in the installed package: only when asked, for the import adds a sixth to `mnist --help`."""
        if name == "__version__":
            from importlib.metadata import version

            return version("mnist-workbench")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
