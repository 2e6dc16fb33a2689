"""What a value is: element meaning, logical shape, storage layout.

Shapes never hold the batch: every tensor has an implicit leading batch axis ``N``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Elem(Enum):
    """The meaning of an element, apart from how it is stored.

    ``REAL`` is an exact real number that no program computes: a normalized sum before its sign is taken.
    Whatever is left of it when kernels are made has become ``F32`` by the rule of `bnncc.ir.exact`.
    """

    SIGN = "sign"
    BOOL = "bool"
    U8 = "u8"
    I8 = "i8"
    I32 = "i32"
    U32 = "u32"
    I64 = "i64"
    F32 = "f32"
    REAL = "real"


class Layout(Enum):
    """How a tensor lies in memory, for one image.

    ``PLAIN``: row-major in the order of the shape; signs as one int8 (-1/+1) each.
    ``NHWC_WORDS64``: signs ``[C, H, W]`` as ``[H][W][ceil(C / 64)]`` words of 64 bits; a vector
    ``[K]`` is ``[1][1][ceil(K / 64)]``.
    ``PLANES128``: signs ``[C, H, W]`` as ``[ceil(C / 128)][H][W]`` vectors of 128 bits, image after image;
    a vector ``[K]`` is ``C = K, H = W = 1``.
    ``ROWS8X128``: the same vectors, but eight images interleaved: image ``n``, vector ``k`` of ``V`` lies at
    vector ``(n // 8 * V + k) * 8 + n % 8``.

    In every packed layout bit 0 is the lowest channel, 1 means +1, and unused bits are 0.
    """

    PLAIN = "plain"
    NHWC_WORDS64 = "nhwc_words64"
    PLANES128 = "planes128"
    ROWS8X128 = "rows8x128"

    @property
    def is_packed(self) -> bool:
        """Return whether one element is one bit."""
        return self is not Layout.PLAIN


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element meaning, logical shape without the batch, and layout."""

    elem: Elem
    shape: tuple[int, ...]
    layout: Layout = Layout.PLAIN

    @property
    def count(self) -> int:
        """Return the number of elements of one image."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Return the length of the first axis, the one that per-channel parameters follow."""
        return self.shape[0] if self.shape else 1

    @property
    def spatial(self) -> tuple[int, int]:
        """Return ``(H, W)``; a vector has ``(1, 1)``."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 3 else (1, 1)

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.shape))
        suffix = "" if self.layout is Layout.PLAIN else f" {self.layout.value}"
        return f"{self.elem.value}[{shape}]{suffix}"


@dataclass(frozen=True, slots=True)
class Value:
    """The result of a node or an input of the graph; names are unique in a graph."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class ConstRef:
    """A parameter or table of the network; the array is in the graph, under its digest.

    Args:
        name: dotted, as in the checkpoint: ``conv1.weight``.
        type: element and full shape (constants have no batch axis).
        digest: ``sha256`` of dtype, shape and bytes; empty while no weights are bound.
    """

    name: str
    type: TensorType
    digest: str = ""

    @property
    def is_bound(self) -> bool:
        """Return whether an array belongs to it."""
        return bool(self.digest)
