"""Whether a kernel graph is well formed: layouts, forms and orders of weights agree with who reads them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnncc.ir import kernel
from bnncc.ir.packing import lane_outputs, vectors_per_pixel
from bnncc.ir.reference.layer import ones_are_counted, tiles_are_the_weights


def verify_kernel(graph: kernel.KernelGraph) -> tuple[str, ...]:
    """Return what is wrong with ``graph``, one sentence each, with the place in the source.

    Signs are packed in the natural order of channels wherever they lie, so that any kernel may read what any
    other wrote; orders that differ are those of weights, and both forms of a layer hold the same signs.
    """
    return tuple(
        f"%{node.result.name} (from {node.span}) {problem}"
        for node in graph.nodes
        if isinstance(node, kernel.XnorLayer)
        for problem in _layer_problems(graph, node)
    )


def _layer_problems(graph: kernel.KernelGraph, node: kernel.XnorLayer) -> Iterator[str]:
    if not node.x.type.layout.is_packed:
        yield f"reads %{node.x.name}, whose signs are not packed"
    if isinstance(node.store, kernel.StoreSigns) != node.result.type.layout.is_packed:
        yield f"stores {type(node.store).__name__} as {node.result.type.layout.value}"
    forms = [(node.weight, node.packing)]
    if node.tiles is not None:
        forms.append((node.tiles.weight, node.tiles.packing))
    are_stored = True
    for weight, packing in forms:
        if problem := _packing_problem(packing):
            yield f"has weights @{weight.name} {problem}"
            return
        if (expected := weight_shape(node, packing)) != weight.type.shape:
            yield f"has weights @{weight.name} of shape {weight.type.shape}, not {expected}"
            are_stored = False
    if are_stored:
        if not ones_are_counted(node, graph):
            yield "has ones that are not those of its weights"
        if not tiles_are_the_weights(node, graph):
            yield "has two forms of weights that are not the same signs"


def _packing_problem(packing: kernel.Packing) -> str:
    is_fragment = packing.order is kernel.LaneOrder.FRAGMENT
    if is_fragment and (packing.lanes % 32 or packing.is_by_byte):
        return "in the order of fragments, which needs whole words of outputs, not transposed"
    if not np.array_equal(np.sort(lane_outputs(packing)), np.arange(packing.lanes)):
        return f"in the order {packing.order.value}, which is no permutation"
    return ""


def weight_shape(node: kernel.XnorLayer, packing: kernel.Packing) -> tuple[int, int, int, int]:
    """Return the shape of the weights of ``node`` in the form ``packing``."""
    vectors = vectors_per_pixel(node.x.type.channels, packing.vector_bits) * node.window.taps
    panels = -(-node.outputs // packing.lanes)
    rounded = -(-vectors // packing.vector_multiple) * packing.vector_multiple
    return panels, rounded, packing.lanes, packing.vector_bits // 32
