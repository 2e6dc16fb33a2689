"""Kernels of binary layers on tensor cores (tier bmma): mma.sync on single bits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from bnncc.ir.kernel import IntegerLayer, KernelProgram, StoreSigns, XnorLayer
from bnncc.targets.cuda import args, describe, launch
from bnncc.targets.cuda.cost import Work, seconds
from bnncc.targets.cuda.cut import CUTS, SHARED_BYTES, VECTOR_BYTES, WIDE_CUTS, Cut
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.fuse import SMALL_BATCHES
from bnncc.targets.cuda.layers import is_row_layer, tile_problem
from bnncc.targets.cuda.plan import (
    IMAGES,
    PLANE_BITS,
    KernelPlan,
    LayerBody,
    Parameter,
    ceil_div,
    constant,
    layer_name,
    packed_form,
    reads,
    table_name,
    tile_declarations,
)
from bnncc.targets.cuda.store import group_count, store_args, store_parameters, stored_groups

_REFERENCE: Final = DEVICES["sm_90a"]
"""The device whose rates decide the sizes: they are compiled in, the same for all."""
TILES: Final = ((8, 16), (16, 8), (8, 8), (4, 8), (8, 4), (4, 4), (2, 8), (2, 2), (1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a kernel is cut for.

    Args:
        cuts: to choose from.
        batches: sizes of batches whose times count alike.
    """

    cuts: tuple[Cut, ...]
    batches: tuple[int, ...]


THROUGHPUT: Final = Goal(cuts=CUTS, batches=(32, 512, 4096))
LATENCY: Final = Goal(cuts=WIDE_CUTS, batches=SMALL_BATCHES)


def bmma_plan(
    program: KernelProgram, node: XnorLayer, name: str, goal: Goal | None = None
) -> KernelPlan | None:
    """Return the kernel of a binary layer, None where shared memory is too small for it.

    Without a ``goal`` it is cut for large batches.
    """
    goal = goal or THROUGHPUT
    assert node.weight_ones is not None, "the storage form of the CUDA target has the ones of weights"
    number = "int4" if isinstance(node.store, StoreSigns) else "int"  # four numbers at a time
    parameters = (
        reads("x", "uint4", node.x),
        constant("weight", "uint4", program, node.weight),
        constant("weight_ones", number, program, node.weight_ones),
        *store_parameters(program, node, number),
    )
    if is_row_layer(node):
        return _dense(program, node, name, (*parameters, IMAGES), goal)
    return _conv(program, node, name, parameters, goal)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """One way to cut a layer."""

    cut: Cut
    geometry: launch.LaunchGeometry
    work: Work
    tile: launch.Tile | None = None
    staged_planes: int = 0


def _dense(
    program: KernelProgram, node: XnorLayer, name: str, parameters: tuple[Parameter, ...], goal: Goal
) -> KernelPlan:
    form = packed_form(node.x.type)
    sizes = _best(program, node, goal, (_dense_sizes(node, form.vectors, cut) for cut in goal.cuts))
    assert sizes is not None, "rows and columns of every cut fit shared memory"
    cut = sizes.cut
    lines = _lines(cut, f"{cut.rows} images x {cut.columns} outputs")
    template_args = args.BmmaDenseArgs(
        comment=_comment(program, node, lines, sizes.geometry),
        layer=layer_name(program, name),
        parameters=tile_declarations(parameters),
        vectors=form.vectors,
        steps=ceil_div(form.vectors, cut.step),
        groups=group_count(node.outputs),
        stored_outputs=stored_groups(node) * 32,
        x_layout=form.function,
        x_step=form.vector_step,
        cut=cut,
        lane_word=lane_word(node),
        store=store_args(node),
    )
    return KernelPlan(
        template_args, parameters, sizes.geometry, _body(program, name, cut), "bmma", sizes.work
    )


def _dense_sizes(node: XnorLayer, vectors: int, cut: Cut) -> _Sizes | None:
    cut = _staged(cut, vectors)
    shared = cut.column_bytes * (cut.rows + cut.columns) // cut.columns
    geometry = launch.LaunchGeometry(
        images_per_step=cut.rows,
        blocks_per_step=1,
        grid_y=ceil_div(stored_groups(node) * 32, cut.columns),
        threads=cut.threads,
        shared_bytes=shared,
    )
    work = _work(cut, vectors, (cut.rows + cut.columns) * vectors * VECTOR_BYTES)
    return _Sizes(cut=cut, geometry=geometry, work=work) if shared <= SHARED_BYTES else None


def _conv(
    program: KernelProgram, node: XnorLayer, name: str, parameters: tuple[Parameter, ...], goal: Goal
) -> KernelPlan | None:
    problem = tile_problem(node)
    tiles = dict.fromkeys(problem.tile(*size) for size in TILES)
    fewest = min(cut.rows for cut in goal.cuts)
    found = (_conv_sizes(node, tile, cut, fewest) for tile in tiles for cut in goal.cuts)
    sizes = _best(program, node, goal, found)
    if sizes is None or sizes.tile is None:
        return None
    form = packed_form(node.x.type)
    tile, cut = sizes.tile, sizes.cut
    lines = _lines(cut, f"{tile.rows}x{tile.columns} sums x {cut.columns} channels")
    template_args = args.BmmaConvArgs(
        comment=_comment(program, node, lines, sizes.geometry),
        layer=layer_name(program, name),
        tables=table_name(program, name),
        parameters=tile_declarations(parameters),
        height=node.x.type.spatial[0],
        width=node.x.type.spatial[1],
        window=node.window,
        planes=_planes(node),
        groups=group_count(node.outputs),
        stored_groups=stored_groups(node),
        tile=tile,
        cut=cut,
        staged_planes=sizes.staged_planes,
        x_layout=form.function,
        x_step=form.vector_step,
        lane_word=lane_word(node),
        store=store_args(node),
    )
    return KernelPlan(
        template_args, parameters, sizes.geometry, _body(program, name, cut), "bmma", sizes.work
    )


def _conv_sizes(node: XnorLayer, tile: launch.Tile, cut: Cut, fewest: int) -> _Sizes | None:
    """Return ``cut`` over the sums of ``tile``; None where they do not fit one another or shared memory.

    ``fewest`` are the rows of the smallest cut.
    """
    if not cut.rows // 2 < tile.pixels <= cut.rows and not (tile.pixels <= cut.rows == fewest):
        return None
    planes, vectors = _planes(node), _planes(node) * node.window.taps
    cut = _staged(cut, vectors)
    words_bytes = cut.rows * cut.columns // 8 if isinstance(node.store, StoreSigns) else 0
    room = SHARED_BYTES - cut.column_bytes - words_bytes - VECTOR_BYTES
    staged = min(planes, room // (tile.patch_pixels * VECTOR_BYTES))
    if staged < 1:
        return None
    patch_bytes = (staged * tile.patch_pixels + 1) * VECTOR_BYTES
    geometry = launch.LaunchGeometry(
        images_per_step=1,
        blocks_per_step=tile.tiles,
        grid_y=ceil_div(stored_groups(node) * 32, cut.columns),
        threads=cut.threads,
        shared_bytes=patch_bytes + cut.column_bytes + words_bytes,
    )
    l2_bytes = (planes * tile.patch_pixels + vectors * cut.columns) * VECTOR_BYTES
    return _Sizes(
        cut=cut,
        geometry=geometry,
        work=_work(cut, vectors, l2_bytes),
        tile=tile,
        staged_planes=staged,
    )


def _best(
    program: KernelProgram, node: XnorLayer, goal: Goal, found: Iterable[_Sizes | None]
) -> _Sizes | None:
    """Return the sizes that the cost model likes best over all batches."""
    traffic = describe.traffic_of(program, node)

    def slowness(sizes: _Sizes) -> float:
        return math.prod(
            seconds(sizes.work, sizes.geometry, traffic, _REFERENCE, images) for images in goal.batches
        )

    return min((sizes for sizes in found if sizes is not None), key=slowness, default=None)


def _staged(cut: Cut, vectors: int) -> Cut:
    """Return ``cut`` with no more vectors and stages in shared memory than a sum has."""
    step = min(cut.step, vectors + vectors % 2)
    return replace(cut, step=step, stages=min(cut.stages, 1 + ceil_div(vectors, step)))


def _work(cut: Cut, vectors: int, l2_bytes: int) -> Work:
    steps = ceil_div(vectors, 2) * cut.warps
    return Work(
        products=steps * cut.m_tiles * cut.n_tiles,
        row_loads=steps * cut.m_tiles,
        column_loads=steps * cut.n_tiles // 2,
        l2_bytes=l2_bytes,
    )


def _body(program: KernelProgram, name: str, cut: Cut) -> LayerBody:
    return LayerBody(name=layer_name(program, name), has_shared=True, resident_blocks=cut.resident_blocks)


def _planes(node: XnorLayer) -> int:
    return ceil_div(node.x.type.channels, PLANE_BITS)


def lane_word(node: XnorLayer | IntegerLayer) -> str:
    """Return the bits of a lane's outputs that are stored, in C; a flip after a pool comes later."""
    store = node.store
    if not isinstance(store, StoreSigns):
        return ""
    flips = [
        f" ^ bnncc_lane_bits<N_TILES>({name}, first)"
        for name, ref in (
            ("flips", store.flips),
            ("flips_after_pool", store.flips_after_pool if store.pool is None else None),
        )
        if ref is not None
    ]
    return f"fires{''.join(flips)}"


def _lines(cut: Cut, block: str) -> tuple[str, ...]:
    warp = f"a warp {cut.m_tiles * 16} x {cut.n_tiles * 8}"
    staged = f"{cut.step * PLANE_BITS} bits a step, {cut.stages} steps in shared memory"
    return (f"tier bmma: mma.sync on single bits, a block {block}, {warp}; {staged}",)


def _comment(
    program: KernelProgram, node: XnorLayer, lines: tuple[str, ...], geometry: launch.LaunchGeometry
) -> str:
    return describe.kernel_comment(node, lines, geometry, describe.traffic_of(program, node))
