"""Kernels of integer layers on tensor cores (tier imma): mma.sync of bytes with signs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from bnncc.ir.kernel import IntegerLayer, KernelProgram, StoreSigns
from bnncc.ir.types import Elem
from bnncc.targets.cuda import args, describe, launch
from bnncc.targets.cuda.bmma import TILES, lane_word
from bnncc.targets.cuda.cost import Work, seconds
from bnncc.targets.cuda.cut import CUTS, SHARED_BYTES, VECTOR_BYTES, Cut
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.layers import is_row_layer, tile_problem
from bnncc.targets.cuda.plan import (
    C_TYPES,
    IMAGES,
    KernelPlan,
    LayerBody,
    Parameter,
    ceil_div,
    constant,
    layer_name,
    reads,
    table_name,
    tile_declarations,
)
from bnncc.targets.cuda.store import group_count, store_args, store_parameters, stored_groups

IMMA: Final = "imma"
"""The tier: how they multiply."""
_REFERENCE: Final = DEVICES["sm_90a"]
_BATCHES: Final = (32, 512, 4096)
_IN: Final = {Elem.U8: "false", Elem.I8: "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """One way to cut a layer."""

    cut: Cut
    geometry: launch.LaunchGeometry
    work: Work
    tile: launch.Tile | None = None


def imma_plan(program: KernelProgram, node: IntegerLayer, name: str) -> KernelPlan | None:
    """Return the kernel of an integer layer, None where shared memory is too small for it."""
    number = "int4" if isinstance(node.store, StoreSigns) else "int"  # four limits at a time
    parameters = (
        reads("x", C_TYPES[node.x.type.elem], node.x),
        constant("weight", "uint4", program, node.weight),
        *store_parameters(program, node, number),
    )
    if is_row_layer(node):
        return _dense(program, node, name, (*parameters, IMAGES))
    return _conv(program, node, name, parameters)


def _dense(
    program: KernelProgram, node: IntegerLayer, name: str, parameters: tuple[Parameter, ...]
) -> KernelPlan | None:
    sizes = _best(program, node, (_dense_sizes(node, cut) for cut in CUTS))
    if sizes is None:
        return None
    cut = sizes.cut
    template_args = args.ImmaDenseArgs(
        comment=_comment(program, node, sizes, f"{cut.rows} images x {cut.columns} outputs"),
        layer=layer_name(program, name),
        parameters=tile_declarations(parameters),
        fan_in=node.fan_in,
        words=_words(node),
        steps=ceil_div(2 * _words(node), cut.step),
        groups=group_count(node.outputs),
        stored_outputs=stored_groups(node) * 32,
        cut=cut,
        is_whole=node.fan_in % VECTOR_BYTES == 0,
        is_signed=_IN[node.x.type.elem],
        lane_word=lane_word(node),
        store=store_args(node),
    )
    return KernelPlan(template_args, parameters, sizes.geometry, _body(program, name, cut), IMMA, sizes.work)


def _conv(
    program: KernelProgram, node: IntegerLayer, name: str, parameters: tuple[Parameter, ...]
) -> KernelPlan | None:
    problem = tile_problem(node)
    tiles = dict.fromkeys(problem.tile(*size) for size in TILES)
    sizes = _best(program, node, (_conv_sizes(node, tile, cut) for tile in tiles for cut in CUTS))
    if sizes is None or sizes.tile is None:
        return None
    tile, cut = sizes.tile, sizes.cut
    template_args = args.ImmaConvArgs(
        comment=_comment(program, node, sizes, f"{tile.rows}x{tile.columns} sums x {cut.columns} channels"),
        layer=layer_name(program, name),
        tables=table_name(program, name),
        parameters=tile_declarations(parameters),
        height=node.x.type.spatial[0],
        width=node.x.type.spatial[1],
        window=node.window,
        channels=node.x.type.channels,
        words=_words(node),
        steps=ceil_div(2 * _words(node), cut.step),
        groups=group_count(node.outputs),
        stored_groups=stored_groups(node),
        tile=tile,
        cut=cut,
        x_type=C_TYPES[node.x.type.elem],
        is_signed=_IN[node.x.type.elem],
        lane_word=lane_word(node),
        store=store_args(node),
    )
    return KernelPlan(template_args, parameters, sizes.geometry, _body(program, name, cut), IMMA, sizes.work)


def _dense_sizes(node: IntegerLayer, cut: Cut) -> _Sizes | None:
    cut = _staged(cut, node)
    shared = cut.stages * (cut.step * cut.rows * VECTOR_BYTES + cut.step // 2 * cut.columns * 4)
    geometry = launch.LaunchGeometry(
        images_per_step=cut.rows,
        blocks_per_step=1,
        grid_y=ceil_div(stored_groups(node) * 32, cut.columns),
        threads=cut.threads,
        shared_bytes=shared,
    )
    work = _work(cut, _words(node), cut.rows * node.fan_in)
    return _Sizes(cut=cut, geometry=geometry, work=work) if shared <= SHARED_BYTES else None


def _conv_sizes(node: IntegerLayer, tile: launch.Tile, cut: Cut) -> _Sizes | None:
    """Return ``cut`` over the sums of ``tile``; None where they do not fit one another or shared memory."""
    fewest = min(item.rows for item in CUTS)
    if not cut.rows // 2 < tile.pixels <= cut.rows and not (tile.pixels <= cut.rows == fewest):
        return None
    cut = _staged(cut, node)
    patch_bytes = node.x.type.channels * tile.patch_pixels
    words_bytes = cut.rows * cut.columns // 8 if isinstance(node.store, StoreSigns) else 0
    shared = cut.step * cut.rows * VECTOR_BYTES + cut.step // 2 * cut.columns * 4 + words_bytes
    shared = ceil_div(shared + patch_bytes, VECTOR_BYTES) * VECTOR_BYTES
    if shared > SHARED_BYTES:
        return None
    geometry = launch.LaunchGeometry(
        images_per_step=1,
        blocks_per_step=tile.tiles,
        grid_y=ceil_div(stored_groups(node) * 32, cut.columns),
        threads=cut.threads,
        shared_bytes=shared,
    )
    work = _work(cut, _words(node), patch_bytes, gathered=cut.rows * _words(node) * 8 + 2 * patch_bytes)
    return _Sizes(cut=cut, geometry=geometry, work=work, tile=tile)


def _best(program: KernelProgram, node: IntegerLayer, found: Iterable[_Sizes | None]) -> _Sizes | None:
    """Return the sizes that the cost model likes best over all batches."""
    traffic = describe.traffic_of(program, node)

    def slowness(sizes: _Sizes) -> float:
        return math.prod(
            seconds(sizes.work, sizes.geometry, traffic, _REFERENCE, images) for images in _BATCHES
        )

    return min((sizes for sizes in found if sizes is not None), key=slowness, default=None)


def _staged(cut: Cut, node: IntegerLayer) -> Cut:
    """Return ``cut`` with no more inputs and stages in shared memory than a sum has."""
    step = min(cut.step, 2 * _words(node))
    return replace(cut, step=step, stages=max(2, min(cut.stages, 1 + ceil_div(2 * _words(node), step))))


def _work(cut: Cut, words: int, x_bytes: int, gathered: int = 0) -> Work:
    """Return what a block does; ``gathered`` are the words of four inputs that threads put together."""
    warp_steps = words * cut.warps
    expanded = 6 * cut.n_tiles * warp_steps
    stored = 3 * cut.m_tiles * cut.n_tiles * 4 * cut.warps
    products = warp_steps * cut.m_tiles * cut.n_tiles
    return Work(
        byte_products=products,
        row_loads=0,
        instructions=products + expanded + stored + 9 * gathered // launch.WARP,
        l2_bytes=x_bytes + words * cut.columns * 4,
    )


def _body(program: KernelProgram, name: str, cut: Cut) -> LayerBody:
    return LayerBody(name=layer_name(program, name), has_shared=True, resident_blocks=cut.resident_blocks)


def _words(node: IntegerLayer) -> int:
    """Return the runs of 32 inputs that a sum has."""
    return ceil_div(node.fan_in, 32)


def _comment(program: KernelProgram, node: IntegerLayer, sizes: _Sizes, block: str) -> str:
    cut = sizes.cut
    warp = f"a warp {cut.m_tiles * 16} x {cut.n_tiles * 8}"
    lines = (
        f"tier imma: mma.sync of bytes with signs, a block {block}, {warp}; {cut.step * 16} inputs a step",
    )
    return describe.kernel_comment(node, lines, sizes.geometry, describe.traffic_of(program, node))
