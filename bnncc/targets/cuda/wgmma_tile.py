"""How a block of a warpgroup kernel is cut: consumers multiply, a producer copies, stages between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VECTOR_BYTES: Final = 16
MAX_SHARED_BYTES: Final = 227 * 1024
"""Dynamic shared memory that a block of sm_90a may ask for."""
WARPGROUP: Final = 128
ROWS: Final = 64
"""Rows of a product, one warpgroup's."""
WIDTHS: Final = (256, 128, 64)
"""Columns of a product that the kernels are written for."""
ONES_COLUMNS: Final = 8
TILE_SIZE: Final = 8
"""Rows and columns of the sums of a convolution that are the rows of a product."""
_ONES_BYTES: Final = 24 * VECTOR_BYTES
_REGISTERS: Final = {1: (40, 232), 2: (40, 232), 3: (32, 160)}
"""Of a thread of the producer and of a consumer, by consumers; together no more than a multiprocessor has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """What the tiles have in common: warpgroups that multiply, and one more that copies.

    Args:
        columns: outputs of a tile.
        consumers: warpgroups that multiply.
    """

    columns: int
    consumers: int

    @property
    def threads(self) -> int:
        """Return the threads of a block, those of the producer included."""
        return (self.consumers + 1) * WARPGROUP

    @property
    def lane_outputs(self) -> int:
        """Return how many outputs, one after the other, a lane finishes for each of its rows."""
        return lane_outputs(self.columns)

    @property
    def lane_words(self) -> int:
        """Return the words that hold them."""
        return lane_words(self.columns)

    @property
    def producer_registers(self) -> int:
        """Return the registers of a thread that copies."""
        return _REGISTERS[self.consumers][0]

    @property
    def consumer_registers(self) -> int:
        """Return the registers of a thread that multiplies."""
        return _REGISTERS[self.consumers][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTile(_Tile):
    """A block's tile of a dense layer.

    Args:
        consumers: warpgroups that multiply 64 rows each.
        columns: outputs.
        step: vectors of 128 bits that are multiplied between two barriers, even.
        stages: steps that lie in shared memory.
    """

    step: int = 8
    stages: int = 4

    @property
    def rows(self) -> int:
        """Return the images of a tile."""
        return self.consumers * ROWS

    @property
    def shared_bytes(self) -> int:
        """Return the dynamic shared memory of a block."""
        staged = self.stages * self.step * (self.rows + self.columns) * VECTOR_BYTES
        limits = self.consumers * 2 * limits_bytes(self.columns)
        return staged + _ONES_BYTES + limits + self.stages * 2 * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvTile(_Tile):
    """A block's tile of a convolution: 8 x 8 sums, the weights of its channels resident in shared memory.

    Args:
        columns: channels of a block.
        stored_vectors: of the weights of a channel.
        patch_rows: of the input under a tile.
        patch_columns: see above.
        planes: of 128 input channels.
        classes: of pixels, with limits of their own.
        buffers: patches in shared memory.
        consumers: warpgroups that multiply, a tile each.
    """

    stored_vectors: int
    patch_rows: int
    patch_columns: int
    planes: int
    classes: int
    buffers: int = 4
    consumers: int = 2

    @property
    def patch_vectors(self) -> int:
        """Return the vectors of the input under a tile."""
        return self.planes * self.patch_rows * self.patch_columns

    @property
    def shared_bytes(self) -> int:
        """Return the dynamic shared memory of a block."""
        vectors = self.stored_vectors * self.columns + self.buffers * self.patch_vectors
        limits = self.classes * limits_bytes(self.columns)
        return vectors * VECTOR_BYTES + _ONES_BYTES + limits + (1 + 2 * self.buffers) * 8


DENSE_TILES: Final = tuple(
    DenseTile(consumers=consumers, columns=columns)
    for consumers, columns in ((2, 256), (3, 128), (2, 128), (2, 64), (1, 128), (1, 64))
)
"""What a dense kernel may choose from, from large to small."""


def lane_outputs(columns: int) -> int:
    """Return how many outputs of a product with ``columns`` a lane finishes for each of its rows."""
    return columns // 4


def lane_words(columns: int) -> int:
    """Return the words that hold a lane's outputs."""
    return -(-lane_outputs(columns) // 32)


def limits_bytes(columns: int) -> int:
    """Return the shared memory of the limits of ``columns`` outputs, for even and odd rows."""
    return columns * 2 * 4
