"""Kernels of layers: binary, integer and float windows."""

from __future__ import annotations

import numpy as np

from bnncc.codegen.ctext import c_float
from bnncc.ir.kernel import FloatLayer, IntegerLayer, KernelOp, KernelProgram, StoreSigns, XnorLayer
from bnncc.ir.types import Elem
from bnncc.targets.cuda import args, describe, launch
from bnncc.targets.cuda.cost import Work
from bnncc.targets.cuda.plan import (
    C_TYPES,
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
    writes,
)
from bnncc.targets.cuda.store import group_count, store_args, store_parameters, stored_groups

_DOT4 = {Elem.U8: "bnncc_dot4_u8", Elem.I8: "bnncc_dot4_i8"}


def xnor_plan(program: KernelProgram, node: XnorLayer, name: str) -> KernelPlan:
    """Return the kernel of a binary layer (tier popc)."""
    parameters = (
        reads("x", "uint4", node.x),
        constant("weight", "uint4", program, node.weight),
        *store_parameters(program, node),
    )
    if is_row_layer(node):
        return _xnor_dense(program, node, name, (*parameters, IMAGES))
    return _xnor_conv(program, node, name, parameters)


def _xnor_dense(
    program: KernelProgram, node: XnorLayer, name: str, parameters: tuple[Parameter, ...]
) -> KernelPlan:
    form = packed_form(node.x.type)
    columns = launch.row_columns(stored_groups(node))
    geometry = launch.row_geometry(stored_groups(node) * 32 // columns, launch.ROW_PARTIAL_BYTES)
    body = LayerBody(name=layer_name(program, name), has_shared=True, is_early=True)
    lines = (
        f"tier popc: a lane is an output, a tile {columns} outputs of 8 images; 8 warps share the inputs",
    )
    template_args = args.XnorDenseArgs(
        comment=_comment(program, node, lines, geometry),
        layer=body.name,
        parameters=tile_declarations(parameters),
        vectors=form.vectors,
        groups=group_count(node.outputs),
        columns=columns,
        early=launch.early_vectors(form.vectors, columns),
        x_layout=form.function,
        x_step=form.vector_step,
        x_image_step=form.image_step,
        store=store_args(node),
    )
    words = form.vectors * 4 * columns
    l2_bytes = (launch.ROW_IMAGES + columns) * form.vectors * 16
    work = Work(popcounts=launch.ROW_IMAGES * words, single_popcounts=words, l2_bytes=l2_bytes)
    return KernelPlan(template_args, parameters, geometry, body, "popc", work)


def _xnor_conv(
    program: KernelProgram, node: XnorLayer, name: str, parameters: tuple[Parameter, ...]
) -> KernelPlan:
    form = packed_form(node.x.type)
    height, width = node.x.type.spatial
    planes = ceil_div(node.x.type.channels, PLANE_BITS)
    tile = launch.choose_tile(tile_problem(node), bytes_per_patch_pixel=16)
    staged = launch.staged_planes(tile, planes)
    words_bytes = tile.pixel_slots * 4 if isinstance(node.store, StoreSigns) else 0
    shared = staged * tile.patch_pixels * 16 + tile.partial_bytes + words_bytes
    geometry = launch.tile_geometry(tile, stored_groups(node), shared)
    body = _tile_body(program, name, tile)
    template_args = args.XnorConvArgs(
        comment=_comment(program, node, _tile_lines("popc", tile), geometry),
        layer=body.name,
        tables=table_name(program, name),
        parameters=tile_declarations(parameters),
        height=height,
        width=width,
        window=node.window,
        planes=planes,
        groups=group_count(node.outputs),
        tile=tile,
        staged_planes=staged,
        x_layout=form.function,
        x_step=form.vector_step,
        store=store_args(node),
    )
    vectors = planes * node.window.taps
    popcounts = tile.pixel_slots * vectors * 4 * 32
    l2_bytes = (planes * tile.patch_pixels + vectors * 32) * 16
    work = Work(popcounts=popcounts, single_popcounts=popcounts, l2_bytes=l2_bytes)
    return KernelPlan(template_args, parameters, geometry, body, "popc", work)


def integer_plan(program: KernelProgram, node: IntegerLayer, name: str) -> KernelPlan:
    """Return the kernel of a layer on bytes (dp4a)."""
    x_type = C_TYPES[node.x.type.elem]
    parameters = (
        reads("x", x_type, node.x),
        constant("weight", "unsigned", program, node.weight),
        *store_parameters(program, node),
    )
    if is_row_layer(node):
        return _integer_dense(program, node, name, (*parameters, IMAGES))
    return _integer_conv(program, node, name, parameters)


def _integer_dense(
    program: KernelProgram, node: IntegerLayer, name: str, parameters: tuple[Parameter, ...]
) -> KernelPlan:
    words = ceil_div(node.fan_in, 32)
    staged = launch.staged_words(words)
    shared = launch.ROW_IMAGES * staged * 32 + launch.ROW_PARTIAL_BYTES
    geometry = launch.row_geometry(stored_groups(node), shared)
    # Without a wish ptxas aims at so few registers that it spills some.
    body = LayerBody(
        name=layer_name(program, name), has_shared=True, resident_blocks=launch.ROW_RESIDENT_BLOCKS
    )
    lines = ("dp4a: a lane is an output, a tile 32 outputs of 8 images; 8 warps share the inputs",)
    template_args = args.IntegerDenseArgs(
        comment=_comment(program, node, lines, geometry),
        layer=body.name,
        parameters=tile_declarations(parameters),
        fan_in=node.fan_in,
        words=words,
        staged_words=staged,
        groups=group_count(node.outputs),
        dot4=_DOT4[node.x.type.elem],
        store=store_args(node),
    )
    dots = words * 8 * launch.WARP
    work = Work(
        dots=launch.ROW_IMAGES * dots,
        single_dots=dots,
        l2_bytes=launch.ROW_IMAGES * node.fan_in + words * 32 * 4,
    )
    return KernelPlan(template_args, parameters, geometry, body, "dp4a", work)


def _integer_conv(
    program: KernelProgram, node: IntegerLayer, name: str, parameters: tuple[Parameter, ...]
) -> KernelPlan:
    height, width = node.x.type.spatial
    words = ceil_div(node.fan_in, 32)
    staged = launch.staged_words(words)
    tile = launch.spread_tile(launch.choose_tile(tile_problem(node), bytes_per_patch_pixel=0))
    words_bytes = tile.pixel_slots * 4 if isinstance(node.store, StoreSigns) else 0
    shared = tile.warps * tile.pixels_per_thread * staged * 32 + words_bytes
    geometry = launch.tile_geometry(tile, stored_groups(node), shared)
    body = _tile_body(program, name, tile)
    template_args = args.IntegerConvArgs(
        comment=_comment(program, node, _tile_lines("dp4a", tile), geometry),
        layer=body.name,
        tables=table_name(program, name),
        parameters=tile_declarations(parameters),
        height=height,
        width=width,
        window=node.window,
        channels=node.x.type.channels,
        words=words,
        staged_words=staged,
        groups=group_count(node.outputs),
        tile=tile,
        x_type=C_TYPES[node.x.type.elem],
        dot4=_DOT4[node.x.type.elem],
        store=store_args(node),
    )
    dots = tile.pixel_slots * words * 8 * launch.WARP
    # A byte of a window is found by about ten instructions, a warp 32 at a time.
    work = Work(dots=dots, single_dots=dots, instructions=tile.pixel_slots * words * 10 + dots // 32)
    return KernelPlan(template_args, parameters, geometry, body, "dp4a", work)


def float_plan(program: KernelProgram, node: FloatLayer, name: str) -> KernelPlan:
    """Return the kernel of a layer on floats."""
    height, width = node.x.type.spatial
    sums_h, sums_w = node.window.output_size(height, width)
    blocks = ceil_div(sums_h * sums_w, launch.ROW_IMAGES)
    geometry = launch.LaunchGeometry(
        images_per_step=1,
        blocks_per_step=blocks,
        grid_y=group_count(node.outputs),
        threads=launch.MAP_THREADS,
        shared_bytes=0,
    )
    body = LayerBody(name=layer_name(program, name), has_shared=False)
    parameters = (
        reads("x", "float", node.x),
        constant("weight", "unsigned" if node.is_binary else "float", program, node.weight),
        writes("float", node.result),
    )
    template_args = args.FloatWindowArgs(
        comment=_comment(
            program, node, ("a thread makes one sum, a warp 32 channels of one pixel",), geometry
        ),
        layer=body.name,
        parameters=tile_declarations(parameters),
        height=height,
        width=width,
        window=node.window,
        channels=node.x.type.channels,
        outputs=node.outputs,
        sums_w=sums_w,
        sums=sums_h * sums_w,
        blocks=blocks,
        is_binary=node.is_binary,
        is_padding_skipped=node.pad_value == 0,
        pad_value=c_float(np.float32(node.pad_value)),
        weight_words=ceil_div(node.outputs, 32),
    )
    return KernelPlan(template_args, parameters, geometry, body)


def is_row_layer(node: XnorLayer | IntegerLayer) -> bool:
    """Return whether the layer is one dense product an image."""
    has_pool = isinstance(node.store, StoreSigns) and node.store.pool is not None
    return describe.is_dense(node.window, node.x.type) and not has_pool


def tile_problem(node: XnorLayer | IntegerLayer) -> launch.TileProblem:
    """Return what the tiles of a layer have to cover."""
    return launch.TileProblem(
        window=node.window,
        pool=node.store.pool if isinstance(node.store, StoreSigns) else None,
        out_size=node.result.type.spatial,
        grid_y=stored_groups(node),
    )


def _tile_body(program: KernelProgram, name: str, tile: launch.Tile) -> LayerBody:
    return LayerBody(name=layer_name(program, name), has_shared=True, resident_blocks=tile.resident_blocks)


def _tile_lines(tier: str, tile: launch.Tile) -> tuple[str, ...]:
    area = f"a tile 32 channels of {tile.rows}x{tile.columns} sums"
    share = f"; {tile.parts} warps share a sum" if tile.parts > 1 else ""
    return (f"tier {tier}: a lane is a channel, {area}, a thread {tile.pixels_per_thread} sums{share}",)


def _comment(
    program: KernelProgram, node: KernelOp, lines: tuple[str, ...], geometry: launch.LaunchGeometry
) -> str:
    return describe.kernel_comment(node, lines, geometry, describe.traffic_of(program, node))
