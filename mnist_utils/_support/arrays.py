"""The array types that the packages share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (n, 28, 28) or (28, 28), white on black
Labels = NDArray[np.uint8]  # (n,)
Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]
