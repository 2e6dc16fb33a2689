"""Give layers their weights once more, in the form that some kernels of the target read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from bnncc.ir import kernel
from bnncc.ir.graph import digest_of, freeze
from bnncc.ir.packing import repack_weights
from bnncc.ir.types import ConstRef, Elem, TensorType


@dataclass(frozen=True, slots=True)
class TileWeights:
    """Add a second form of the weights to the layers that ``packings`` names.

    Before::  %y = kernel.xnor_layer(x=%x, weight=@fc2.weight.packed, packing=packing(lanes=32, ...), ...)
    After::   %y = kernel.xnor_layer(..., tiles=weight_tiles(weight=@fc2.weight.tiles, packing=...))

    Does nothing where no layer is named. The signs are the same, so nothing that is computed changes.

    Args:
        packings: the further form, by the name of the layer's result.
    """

    name: ClassVar[str] = "tile-weights"
    packings: Mapping[str, kernel.Packing]

    def run(self, graph: kernel.KernelGraph) -> kernel.KernelGraph:
        """Return the same network with both forms of weights."""
        if not self.packings:
            return graph
        constants = dict(graph.constants)

        def tiled(node: kernel.KernelOp) -> kernel.KernelOp:
            packing = self.packings.get(node.result.name)
            if packing is None or not isinstance(node, kernel.XnorLayer):
                return node
            words = freeze(repack_weights(graph.array(node.weight), node.packing, packing, node.outputs))
            name = f"{node.weight.name.removesuffix('.packed')}.tiles"
            ref = ConstRef(name, TensorType(Elem.U32, words.shape), digest_of(words))
            constants[ref.digest] = words
            return replace(node, tiles=kernel.WeightTiles(weight=ref, packing=packing))

        return replace(graph, nodes=tuple(map(tiled, graph.nodes)), constants=constants)
