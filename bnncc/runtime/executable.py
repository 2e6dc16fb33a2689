"""What every backend gives the session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Executable(Protocol):
    """A loaded network.

    ``run`` takes one array a graph input, ``[N, *shape]`` in the element's type (u8, int8 for i8 and sign),
    and returns one array a graph output, ``[N, *shape]`` int32 or float32 (int8 -1/+1 for sign).
    """

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of the network by name."""

    def close(self) -> None:
        """Free what the executable holds; it cannot run afterwards."""


NUMPY_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "sign": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
    "i8": np.dtype(np.int8),
    "i32": np.dtype(np.int32),
    "f32": np.dtype(np.float32),
}
"""The element type of caller-side arrays, by ``Elem.value``."""
