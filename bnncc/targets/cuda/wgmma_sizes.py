"""Which binary layers warpgroups can take, and how they are cut: from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bnncc.ir.kernel import LaneOrder, Packing, StoreSigns, XnorLayer
from bnncc.ir.types import Layout
from bnncc.ir.window import Window
from bnncc.targets.cuda.artifact import Traffic
from bnncc.targets.cuda.cost import Work, seconds
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.launch import LaunchGeometry, covered
from bnncc.targets.cuda.layers import is_row_layer
from bnncc.targets.cuda.plan import PLANE_BITS, ceil_div
from bnncc.targets.cuda.store import stored_groups
from bnncc.targets.cuda.wgmma_tile import (
    DENSE_TILES,
    MAX_SHARED_BYTES,
    ONES_COLUMNS,
    ROWS,
    TILE_SIZE,
    VECTOR_BYTES,
    WIDTHS,
    ConvTile,
    DenseTile,
)

WGMMA_ARCH: Final = "sm_90a"
_DEVICE: Final = DEVICES[WGMMA_ARCH]
_BATCHES: Final = (256, 1024, 4096)
"""Batches whose times count alike in the choice of sizes."""
_BITS: Final = 256
_INSTRUCTIONS_PER_BIT: Final = 2.25
"""Of the epilogue: an addition, a funnel shift, a quarter of a load."""
_POOL: Final = Window(kernel=(2, 2), stride=(2, 2))
_FEWEST_OUTPUTS: Final = 64

TileT = DenseTile | ConvTile


@dataclass(frozen=True, slots=True, kw_only=True)
class WgmmaSizes:
    """How a layer is cut for warpgroups."""

    tile: TileT
    geometry: LaunchGeometry
    work: Work

    @property
    def packing(self) -> Packing:
        """Return the form of weights that is copied to shared memory as it lies: whole panels of a tile."""
        return Packing(
            lanes=self.tile.columns,
            vector_bits=PLANE_BITS,
            order=LaneOrder.FRAGMENT,
            vector_multiple=2,
        )


def wgmma_sizes(node: XnorLayer) -> WgmmaSizes | str:
    """Return how ``node`` is cut, or why warpgroups cannot take it."""
    if is_row_layer(node):
        return _dense_sizes(node)
    return _conv_sizes(node)


def is_worth_it(node: XnorLayer) -> bool:
    """Return whether most columns of a product would be outputs."""
    return node.outputs >= _FEWEST_OUTPUTS


def stored_vectors(node: XnorLayer) -> int:
    """Return the vectors of an output's weights, an even number: a product takes two."""
    vectors = ceil_div(node.x.type.channels, PLANE_BITS) * node.window.taps
    return vectors + vectors % 2


def _dense_sizes(node: XnorLayer) -> WgmmaSizes | str:
    if node.x.type.layout is not Layout.ROWS8X128:
        return "its input does not lie in tiles of 8 images"
    tiles = (tile for tile in DENSE_TILES if tile.shared_bytes <= MAX_SHARED_BYTES)
    return _best(_dense_size(node, tile) for tile in tiles if _covers(node, tile.columns))


def _dense_size(node: XnorLayer, tile: DenseTile) -> WgmmaSizes:
    vectors = stored_vectors(node)
    geometry = LaunchGeometry(
        images_per_step=tile.rows,
        blocks_per_step=ceil_div(node.outputs, tile.columns),
        grid_y=1,
        threads=tile.threads,
        shared_bytes=0,
        dynamic_shared_bytes=tile.shared_bytes,
        most_blocks=_DEVICE.multiprocessors,
    )
    l2_bytes = (tile.rows + tile.columns) * vectors * VECTOR_BYTES
    work = _work(tile.consumers, tile.columns, vectors, l2_bytes)
    return WgmmaSizes(tile=tile, geometry=geometry, work=work)


def _covers(node: XnorLayer, columns: int) -> bool:
    """Return whether tiles of ``columns`` outputs reach the end of what is stored: whole vectors of signs."""
    return ceil_div(node.outputs, columns) * columns >= stored_groups(node) * 32


def _conv_sizes(node: XnorLayer) -> WgmmaSizes | str:
    if not isinstance(node.store, StoreSigns):
        return "it stores numbers"
    if node.store.pool is not None and node.store.pool != _POOL:
        return "its pool is not 2x2 in steps of 2"
    classes = node.store.border.classes if node.store.border else 1
    patch = covered(node.window, TILE_SIZE, TILE_SIZE)
    found = []
    for columns in (columns for columns in WIDTHS if _covers(node, columns)):
        for buffers in (4, 2):
            tile = ConvTile(
                columns=columns,
                stored_vectors=stored_vectors(node),
                patch_rows=patch[0],
                patch_columns=patch[1],
                planes=ceil_div(node.x.type.channels, PLANE_BITS),
                classes=classes,
                buffers=buffers,
            )
            if tile.shared_bytes <= MAX_SHARED_BYTES:
                found.append(_conv_size(node, tile))
                break
    return _best(found) if found else "the weights of a tile do not fit shared memory"


def _conv_size(node: XnorLayer, tile: ConvTile) -> WgmmaSizes:
    sums_h, sums_w = node.window.output_size(*node.x.type.spatial)
    panels = ceil_div(node.outputs, tile.columns)
    geometry = LaunchGeometry(
        images_per_step=1,
        blocks_per_step=ceil_div(sums_h, TILE_SIZE) * ceil_div(sums_w, TILE_SIZE),
        grid_y=panels,
        threads=tile.threads,
        shared_bytes=0,
        dynamic_shared_bytes=tile.shared_bytes,
        most_blocks=max(1, _DEVICE.multiprocessors // panels),
    )
    work = _work(1, tile.columns, tile.stored_vectors, tile.patch_vectors * VECTOR_BYTES)
    return WgmmaSizes(tile=tile, geometry=geometry, work=work)


def _work(warpgroups: int, columns: int, vectors: int, l2_bytes: int) -> Work:
    """Return what ``warpgroups`` times 64 rows take; the ones of rows are one more product of 8 columns."""
    products = warpgroups * vectors // 2
    rows_twice = 2 * ROWS + columns + ONES_COLUMNS
    return Work(
        l2_bytes=l2_bytes,
        warpgroup_macs=products * ROWS * (columns + ONES_COLUMNS) * _BITS,
        shared_bytes=products * rows_twice * 2 * VECTOR_BYTES,
        instructions=math.ceil(warpgroups * ROWS * columns * _INSTRUCTIONS_PER_BIT / 32),
    )


def _best(found: Iterable[WgmmaSizes]) -> WgmmaSizes:
    """Return the sizes that the cost model likes best over all batches; their memory traffic is the same."""
    none = Traffic(read_bytes_per_image=0, written_bytes_per_image=0, constant_bytes=0)

    def slowness(sizes: WgmmaSizes) -> float:
        return math.prod(seconds(sizes.work, sizes.geometry, none, _DEVICE, images) for images in _BATCHES)

    return min(found, key=slowness)
