"""Which operations are free is said before weights are known, and is what the compiler then does."""

from __future__ import annotations

import pytest

from bnncc.analysis.cost import cost
from bnncc.analysis.float_work import float_ops
from bnncc.ir import bit
from bnncc.ir.nn import NnGraph
from bnncc.passes.pipeline import lower_network
from tests.corpus import CORPUS

# Two outputs that are one value, pixels that are rounded, and a network that reads rounded pixels.
OTHERWISE = {"pass_through", "pooled_negative_input", "real_weights_on_pixels"}


@pytest.mark.parametrize(
    "graph", [found for found in CORPUS if found.name not in OTHERWISE], ids=lambda graph: graph.name
)
def test_the_compiled_network_spends_what_is_said(graph: NnGraph) -> None:
    nodes = lower_network(graph).nodes
    spent = sum(cost(node).float_ops for node in nodes if not isinstance(node, (bit.Conv2d, bit.Dense)))
    assert sum(float_ops(graph).values()) == spent
