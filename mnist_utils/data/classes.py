"""The names of a data set's classes: the ten digits, or others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DIGITS = tuple("0123456789")


def class_word(classes: Sequence[str]) -> str:
    """Return what a class is called: a digit, if the names are the ten digits', or there are none."""
    return "digit" if tuple(classes) in (DIGITS, ()) else "class"


def class_index(classes: Sequence[str], n: int) -> pd.Index:
    """Make a table's index of `n` classes: numbers named ``digit`` for the ten digits, else the names, named ``class``."""
    import pandas as pd

    word = class_word(classes)
    return pd.Index(range(n) if word == "digit" else list(classes), name=word)
