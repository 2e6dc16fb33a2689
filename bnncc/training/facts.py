"""What ``config.json`` says of the network, so that a run can be reported without its source."""

from __future__ import annotations

from typing import Any

from bnncc.analysis.summary import summarize
from bnncc.ir import nn
from bnncc.ir.types import Elem


def layer_facts(graph: nn.NnGraph) -> list[dict[str, Any]]:
    """Return name, weight, parameters and products of every layer with weights, in order."""
    products = {layer.name: layer for layer in summarize(graph).layers}
    found: list[dict[str, Any]] = []
    for node in graph.nodes:
        if isinstance(node, (nn.Conv2d, nn.Dense)):
            layer = products[node.result.name]
            found.append(
                {
                    "name": node.result.name,
                    "weight": node.weight.name,
                    "shape": list(node.weight.type.shape),
                    "is_binary": node.weight.type.elem is Elem.SIGN,
                    "input_bits": layer.input_bits,
                    "macs": layer.binary_macs + layer.other_macs,
                }
            )
    return found
