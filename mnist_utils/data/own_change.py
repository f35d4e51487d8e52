"""A change of images that is the user's own: as augmentation in training, as a corruption in the robustness table."""

from __future__ import annotations

import numpy as np

from mnist_utils import ConfigError
from mnist_utils._support.arrays import Images
from mnist_utils._support.own_function import OwnFunction, call_for, describe_error, with_its_folder


def change_images(x: Images, own: OwnFunction, random: np.random.Generator, *, option: str) -> Images:
    """Let a function of the user's change images.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28), white on black
        The function gets a copy.
    own : OwnFunction
        Takes such an array and a generator of random numbers, which makes its result reproducible; returns as many images.
    random : numpy.random.Generator
    option : str
        What it was given for, for error messages.

    Returns
    -------
    uint8 array, shape (n, 28, 28)

    Raises
    ------
    ConfigError
        If the function raises an error, or returns something else.
    """
    function = call_for(own, option)
    try:
        changed = with_its_folder(own, lambda: function(x.copy(), random))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{option}: {describe_error(error, own)}") from None
    if not isinstance(changed, np.ndarray) or changed.shape != x.shape or changed.dtype != np.uint8:
        found = f"{changed.dtype} of shape {changed.shape}" if isinstance(changed, np.ndarray) else type(changed).__name__
        raise ConfigError(f"{option}: {own.name} returned {found}; allowed: uint8 of shape {x.shape}, as it was given")
    return changed
