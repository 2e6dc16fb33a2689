"""Kernels of binary layers by warpgroups (tier wgmma): asynchronous products on single bits, sm_90a."""

from __future__ import annotations

from collections.abc import Mapping

from bnncc.ir.kernel import KernelGraph, KernelProgram, Packing, StoreSigns, XnorLayer
from bnncc.targets.cuda import describe
from bnncc.targets.cuda.artifact import Traffic
from bnncc.targets.cuda.plan import (
    IMAGES,
    PLANE_BITS,
    KernelPlan,
    LayerBody,
    Parameter,
    ceil_div,
    constant,
    declarations,
    layer_name,
    packed_form,
    reads,
    table_name,
    tile_declarations,
)
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.store import group_count, store_args, store_parameters, stored_groups
from bnncc.targets.cuda.wgmma_args import WgmmaConvArgs, WgmmaDenseArgs, WgmmaKernelArgs
from bnncc.targets.cuda.wgmma_sizes import WgmmaSizes, is_worth_it, stored_vectors, wgmma_sizes
from bnncc.targets.cuda.wgmma_tile import TILE_SIZE, ConvTile, DenseTile


def wgmma_packings(graph: KernelGraph, tier: Tier) -> Mapping[str, Packing]:
    """Return in which form kernels of tier wgmma read weights, by the name of the layer's result."""
    if tier is not Tier.AUTO and not tier.is_by_warpgroups:
        return {}
    sizes = {
        node.result.name: wgmma_sizes(node)
        for node in graph.nodes
        if isinstance(node, XnorLayer) and (tier is not Tier.AUTO or is_worth_it(node))
    }
    return {name: found.packing for name, found in sizes.items() if isinstance(found, WgmmaSizes)}


def wgmma_refusal(node: XnorLayer) -> str:
    """Return why ``node`` has no kernel of tier wgmma; empty if it has one."""
    sizes = wgmma_sizes(node)
    if isinstance(sizes, str):
        return sizes
    if node.tiles is None:
        return "most columns of a product would be empty"
    return ""


def wgmma_plan(program: KernelProgram, node: XnorLayer, name: str, tier: Tier) -> KernelPlan | None:
    """Return the kernel of a layer whose weights are there in its form, else None."""
    if node.tiles is None:
        return None
    sizes = wgmma_sizes(node)
    assert isinstance(sizes, WgmmaSizes), "a layer that is refused gets no second form of weights"
    assert sizes.packing == node.tiles.packing, "sizes follow from shapes"
    assert node.weight_ones is not None, "the storage form of the CUDA target has the ones of weights"
    parameters = (
        reads("x", "uint4", node.x),
        constant("weight", "uint4", program, node.tiles.weight),
        constant("weight_ones", "int", program, node.weight_ones),
        *store_parameters(program, node),
        IMAGES,
    )
    body = LayerBody(name=layer_name(program, name), has_shared=True, resident_blocks=1)
    match sizes.tile:
        case DenseTile() as tile:
            template_args = _dense(program, node, (body.name, parameters), sizes, tile)
            return KernelPlan(template_args, parameters, sizes.geometry, body, "wgmma", sizes.work)
        case ConvTile() as conv:
            conv_args = _conv(program, node, (name, parameters), sizes, (conv, tier))
            return KernelPlan(conv_args, parameters, sizes.geometry, body, "wgmma", sizes.work)


def wgmma_kernel_args(plan: KernelPlan, name: str) -> WgmmaKernelArgs:
    """Return the kernel called ``name`` around the device function of ``plan``."""
    places = ["(int)blockIdx.x", "(int)gridDim.x"]
    if isinstance(plan.args, WgmmaConvArgs):
        places.append(f"(int)blockIdx.y * {plan.body.name}::COLUMNS")
    return WgmmaKernelArgs(
        name=name,
        layer=plan.body.name,
        threads=plan.geometry.threads,
        parameters=declarations(plan.parameters),
        arguments=", ".join((*places, *(item.name for item in plan.parameters))),
    )


def wgmma_traffic(program: KernelProgram, node: XnorLayer) -> Traffic:
    """Return the bytes that the kernel has to move: the weights in its own form."""
    return describe.traffic_of(program, node, is_tiled=True)


def _dense(
    program: KernelProgram,
    node: XnorLayer,
    names: tuple[str, tuple[Parameter, ...]],
    sizes: WgmmaSizes,
    tile: DenseTile,
) -> WgmmaDenseArgs:
    vectors = packed_form(node.x.type).vectors
    cut = f"a tile is {tile.rows} images x {tile.columns} outputs, a block makes one after the other"
    stages = f"{tile.step * PLANE_BITS} bits a step, {tile.stages} steps in shared memory"
    who = "1 warpgroup multiplies" if tile.consumers == 1 else f"{tile.consumers} warpgroups multiply"
    roles = f"{who} 64 images each, one copies"
    lines = (f"tier wgmma: {cut}", f"{roles}; {stages}")
    return WgmmaDenseArgs(
        comment=_comment(program, node, lines, sizes),
        layer=names[0],
        parameters=tile_declarations(names[1]),
        vectors=vectors,
        stored_vectors=stored_vectors(node),
        steps=ceil_div(vectors, tile.step),
        groups=group_count(node.outputs),
        stored_groups=stored_groups(node),
        tiles_n=ceil_div(node.outputs, tile.columns),
        tile=tile,
        word=_words(node)[0],
        store=store_args(node),
    )


def _conv(
    program: KernelProgram,
    node: XnorLayer,
    names: tuple[str, tuple[Parameter, ...]],
    sizes: WgmmaSizes,
    how: tuple[ConvTile, Tier],
) -> WgmmaConvArgs:
    tile, tier = how
    form = packed_form(node.x.type)
    height, width = node.x.type.spatial
    sums_h, sums_w = node.window.output_size(height, width)
    is_by_descriptor = tier is not Tier.WGMMA_REGISTERS and node.window.stride[1] == 1
    by = "read by descriptor from the input under the tile" if is_by_descriptor else "loaded to registers"
    cut = f"a tile is 8x8 sums x {tile.columns} channels, a block makes one after the other"
    roles = f"{tile.consumers} warpgroups multiply a tile each in turn, one copies"
    lines = (
        f"tier wgmma: {cut}; weights stay in shared memory",
        f"{roles}; taps are {by}; {tile.buffers} patches in shared memory",
    )
    index = "(plane * H + in_y) * W + in_x"
    return WgmmaConvArgs(
        comment=_comment(program, node, lines, sizes),
        layer=layer_name(program, names[0]),
        tables=table_name(program, names[0]),
        parameters=tile_declarations(names[1]),
        height=height,
        width=width,
        window=node.window,
        planes=tile.planes,
        stored_vectors=tile.stored_vectors,
        groups=group_count(node.outputs),
        stored_groups=stored_groups(node),
        tiles_y=ceil_div(sums_h, TILE_SIZE),
        tiles_x=ceil_div(sums_w, TILE_SIZE),
        tile=tile,
        is_by_descriptor=is_by_descriptor,
        x_layout=form.function,
        x_index=index if form.vector_step == 1 else f"({index}) * {form.vector_step}",
        word=_words(node)[0],
        pooled_word=_words(node)[1],
        store=store_args(node),
    )


def _words(node: XnorLayer) -> tuple[str, str]:
    """Return word ``w`` of a lane's bits, in C, and the same of a result past the pool."""
    store = node.store
    if not isinstance(store, StoreSigns):
        return "", ""
    flips = "" if store.flips is None else " ^ (flips[group] >> first % 32)"
    after = "" if store.flips_after_pool is None else " ^ (flips_after_pool[group] >> first % 32)"
    if store.pool is None:
        return f"bits[w]{flips}{after}", ""
    return f"bits[w]{flips}", f"word{after}"


def _comment(program: KernelProgram, node: XnorLayer, lines: tuple[str, ...], sizes: WgmmaSizes) -> str:
    return describe.kernel_comment(node, lines, sizes.geometry, wgmma_traffic(program, node))
