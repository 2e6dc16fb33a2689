"""The cost model: what a kernel takes on a device at least, from what its blocks do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bnncc.targets.cuda.artifact import Traffic
from bnncc.targets.cuda.device import B1Form, DeviceRates
from bnncc.targets.cuda.launch import LaunchGeometry

PRODUCT_MACS: Final = 16 * 8 * 256
"""Single-bit products of one tensor-core instruction."""
BYTE_MACS: Final = 16 * 8 * 32
"""Products of bytes of one tensor-core instruction."""
_BYTE_MACS_PER_CLOCK: Final = 1024
"""Where single bits are emulated; an assumption."""
_DOTS_PER_CLOCK: Final = 64
"""An assumption, for all."""
_SHARED_BYTES_PER_CLOCK: Final = 128
_INSTRUCTIONS_PER_CLOCK: Final = 4
_TILES_BYTES: Final = 512
"""What one ldmatrix of four tiles reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one block of a kernel does for a tile.

    Args:
        popcounts: of 32 bits.
        single_popcounts: those of a batch of one image.
        products: tensor-core instructions that count mismatches or common ones.
        row_loads: 16 rows of 256 bits loaded by a warp; each is one product more where ones are counted.
        column_loads: 16 columns of 256 bits loaded by a warp.
        l2_bytes: read through the L2 cache.
        byte_products: tensor-core instructions that multiply bytes.
        dots: products of four bytes with four (dp4a), of threads.
        single_dots: those of a batch of one image.
        warpgroup_macs: products of single bits by warpgroups.
        shared_bytes: read from shared memory by these.
        instructions: of warps, besides; counted where they weigh something.
    """

    popcounts: int = 0
    single_popcounts: int = 0
    products: int = 0
    row_loads: int = 0
    column_loads: int = 0
    l2_bytes: int = 0
    byte_products: int = 0
    dots: int = 0
    single_dots: int = 0
    warpgroup_macs: int = 0
    shared_bytes: int = 0
    instructions: int = 0

    def clocks(self, device: DeviceRates, images: int) -> float:
        """Return the clocks that a block occupies a multiprocessor with its narrowest resource."""
        popcounts = self.single_popcounts if images == 1 else self.popcounts
        dots = self.single_dots if images == 1 else self.dots
        products = self.products + (self.row_loads if device.b1_form is B1Form.AND else 0)
        shared_bytes = (self.row_loads + self.column_loads) * _TILES_BYTES + self.shared_bytes
        return max(
            popcounts / device.popcounts,
            products * PRODUCT_MACS / device.b1_macs if products else 0.0,
            self.byte_products * BYTE_MACS / _byte_macs(device),
            dots / _DOTS_PER_CLOCK,
            self.warpgroup_macs / device.warpgroup_macs if self.warpgroup_macs else 0.0,
            self.instructions / _INSTRUCTIONS_PER_CLOCK,
            shared_bytes / _SHARED_BYTES_PER_CLOCK,
            self.l2_bytes / device.l2_bytes,
        )


def _byte_macs(device: DeviceRates) -> float:
    """Return the products of bytes by mma.sync a clock: an eighth of those of bits."""
    return device.b1_macs / 8 or _BYTE_MACS_PER_CLOCK


def seconds(
    work: Work, geometry: LaunchGeometry, traffic: Traffic, device: DeviceRates, images: int
) -> float:
    """Return the least time of a launch: tiles in rounds over the multiprocessors, or the memory's time.

    Neither the launch itself nor latencies are counted: they are alike for the kernels that are compared.
    """
    rounds = -(-geometry.tiles(images) // device.multiprocessors)
    moved = images * (traffic.read_bytes_per_image + traffic.written_bytes_per_image) + traffic.constant_bytes
    return max(
        rounds * work.clocks(device, images) / (device.clock_ghz * 1e9), moved / (device.memory_gb_s * 1e9)
    )
