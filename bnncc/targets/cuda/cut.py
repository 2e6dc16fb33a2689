"""How a block of a tensor-core kernel is cut into warps and fragments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bnncc.targets.cuda.launch import MAX_RESIDENT_BLOCKS, WARP

SHARED_BYTES: Final = 48 * 1024
"""The static shared memory that every architecture gives a block."""
VECTOR_BYTES: Final = 16
_REGISTERS: Final = 65536
_FEWEST_THREADS: Final = 1024
"""That a multiprocessor holds, on the architecture that holds fewest (sm_75)."""
_OTHER_REGISTERS: Final = 72
"""Of a thread, besides its sums and fragments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A block's part of the product, ``rows`` x ``columns`` sums, over its warps.

    Its threads are a multiple of its rows and of its columns: each copies of one row and one column only.

    Args:
        warps_m: warps along the rows.
        warps_n: warps along the columns.
        m_tiles: of 16 rows that a warp holds.
        n_tiles: of 8 columns that a warp holds: 4, 8 or 16, so that a lane's outputs are whole bytes.
        step: vectors of 128 bits that are multiplied between two barriers, even.
        stages: steps that lie in shared memory, one of them in use.
    """

    warps_m: int
    warps_n: int
    m_tiles: int
    n_tiles: int
    step: int = 4
    stages: int = 3

    @property
    def rows(self) -> int:
        """Return the rows of a block."""
        return self.warps_m * self.m_tiles * 16

    @property
    def columns(self) -> int:
        """Return the columns of a block."""
        return self.warps_n * self.n_tiles * 8

    @property
    def warps(self) -> int:
        """Return the warps of a block."""
        return self.warps_m * self.warps_n

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return self.warps * WARP

    @property
    def lane_outputs(self) -> int:
        """Return how many outputs, one after the other, a lane finishes for each of its rows."""
        return 2 * self.n_tiles

    @property
    def column_bytes(self) -> int:
        """Return the shared memory of the weights."""
        return self.stages * self.step * self.columns * VECTOR_BYTES

    @property
    def resident_blocks(self) -> int:
        """Return the blocks that one multiprocessor should hold, as far as registers allow."""
        sums = 4 * self.m_tiles * (self.n_tiles + 1)
        registers = sums + 4 * self.m_tiles + _OTHER_REGISTERS
        return max(
            1,
            min(
                _REGISTERS // (registers * self.threads), _FEWEST_THREADS // self.threads, MAX_RESIDENT_BLOCKS
            ),
        )


CUTS: Final = (
    Cut(warps_m=2, warps_n=2, m_tiles=4, n_tiles=8),
    Cut(warps_m=4, warps_n=1, m_tiles=2, n_tiles=8),
    Cut(warps_m=2, warps_n=2, m_tiles=2, n_tiles=8),
    Cut(warps_m=2, warps_n=2, m_tiles=2, n_tiles=4),
    Cut(warps_m=4, warps_n=1, m_tiles=2, n_tiles=4),
    Cut(warps_m=1, warps_n=4, m_tiles=2, n_tiles=4),
    Cut(warps_m=2, warps_n=1, m_tiles=2, n_tiles=4),
    Cut(warps_m=1, warps_n=2, m_tiles=2, n_tiles=4),
    Cut(warps_m=2, warps_n=1, m_tiles=1, n_tiles=4),
    Cut(warps_m=1, warps_n=2, m_tiles=1, n_tiles=4),
)
"""What the kernel of a layer may choose from, from large to small."""

WIDE_CUTS: Final = (
    Cut(warps_m=4, warps_n=2, m_tiles=2, n_tiles=4),
    Cut(warps_m=2, warps_n=4, m_tiles=2, n_tiles=4),
    Cut(warps_m=8, warps_n=1, m_tiles=1, n_tiles=4),
    Cut(warps_m=4, warps_n=2, m_tiles=1, n_tiles=4),
    Cut(warps_m=2, warps_n=4, m_tiles=1, n_tiles=4),
    Cut(warps_m=1, warps_n=8, m_tiles=1, n_tiles=4, stages=2),
)
"""What a layer of a persistent kernel may choose from: eight warps, as all its layers have."""
