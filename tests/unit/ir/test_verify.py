"""The verifier notices every kind of damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnncc.diagnostics import InternalError
from bnncc.ir import bit
from bnncc.ir.graph import Output, digest_of, freeze
from bnncc.ir.types import Elem, Layout, TensorType, Value
from bnncc.ir.verify import require_valid, verify_bit, verify_nn
from bnncc.ir.window import Border
from tests.corpus import graph
from tests.networks import unbound
from tests.stages import stages


def network() -> bit.BitGraph:
    return stages("conv_first_pooled")[-1].after


def with_node(found: bit.BitGraph, index: int, **changes: Any) -> bit.BitGraph:
    nodes = list(found.nodes)
    nodes[index] = replace(nodes[index], **changes)
    return replace(found, nodes=tuple(nodes))


def in_epilogue(found: bit.BitGraph, index: int, **changes: Any) -> bit.BitGraph:
    return with_node(found, index, epilogue=replace(found.nodes[index].epilogue, **changes))


def other_array(found: bit.BitGraph) -> bit.BitGraph:
    ref = found.nodes[0].weight
    return replace(found, constants={**found.constants, ref.digest: np.ones((2, 2), np.int8)})


def other_type(value: Value, **changes: Any) -> Value:
    return Value(value.name, replace(value.type, **changes))


DAMAGE: dict[str, Callable[[bit.BitGraph], bit.BitGraph]] = {
    "not defined before": lambda g: replace(g, nodes=tuple(reversed(g.nodes))),
    "defined twice": lambda g: replace(g, nodes=(*g.nodes, g.nodes[-1])),
    "which is not defined": lambda g: replace(g, outputs=(Output("y", Value("no", g.inputs[0].type)),)),
    "two outputs": lambda g: replace(g, outputs=(*g.outputs, *g.outputs)),
    "two inputs": lambda g: replace(g, inputs=(*g.inputs, *g.inputs)),
    "no output": lambda g: replace(g, outputs=()),
    "has type": lambda g: with_node(g, 2, result=other_type(g.nodes[2].result, elem=Elem.I32)),
    "has layout": lambda g: with_node(g, 2, result=other_type(g.nodes[2].result, layout=Layout.NHWC_WORDS64)),
    "has no array": lambda g: replace(g, constants={}),
    "not sign": other_array,
    "not bound": lambda g: with_node(g, 0, weight=replace(g.nodes[0].weight, digest="")),
    "does not cover": lambda g: in_epilogue(g, 0, border=Border(rows=(0,), columns=(0,))),
    "not bool[12]": lambda g: in_epilogue(g, 0, flips=g.nodes[1].epilogue.flips),
    "not i32[1, 12]": lambda g: in_epilogue(g, 0, border=None),
    "ill typed": lambda g: with_node(g, 2, x=g.inputs[0]),
}


@pytest.mark.parametrize("text", DAMAGE)
def test_damage_is_noticed(text: str) -> None:
    problems = verify_bit(DAMAGE[text](network()))
    assert any(text in problem for problem in problems), problems


def test_constants_of_one_name() -> None:
    found = network()
    array = freeze(np.ones((10, 80), np.int8))
    ref = replace(found.nodes[2].weight, digest=digest_of(array))
    constants = {**found.constants, ref.digest: array}
    twice = replace(found.nodes[2], weight=ref, result=Value("other", TensorType(Elem.F32, (10,))))
    problems = verify_bit(replace(found, nodes=(*found.nodes, twice), constants=constants))
    assert problems == ("two constants are called @dense1.weight",)


def test_unbound_networks_are_valid() -> None:
    stripped, _ = unbound(graph("conv_first"))
    assert verify_nn(stripped) == ()


def test_faults_name_the_pass_and_the_place() -> None:
    damaged = in_epilogue(network(), 0, border=None)
    with pytest.raises(InternalError, match=r"(?s)'fuse-layers'.*conv_first_pooled.bnn:2:3"):
        require_valid(verify_bit(damaged), "fuse-layers")
