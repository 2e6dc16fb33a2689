"""Every pass keeps the meaning of every network of the corpus, exactly."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from bnncc.ir.reference import evaluate_bit, evaluate_nn, to_f32, trace_nn
from bnncc.ir.text import parse_bit, parse_nn, print_graph
from bnncc.ir.types import Elem, Value
from bnncc.ir.verify import verify_bit, verify_lowered, verify_nn
from bnncc.passes.eliminate_dead import EliminateDead
from bnncc.passes.lower_to_bits import LowerToBits
from tests.corpus import CORPUS, graph
from tests.networks import sample_inputs, values_of
from tests.stages import LAYOUTS, PASSES, stages

NAMES = [network.name for network in CORPUS]
STEPS = [f"{number:02}-{transform.name}" for number, transform in enumerate(PASSES)]


@cache
def expected(name: str) -> dict[str, Any]:
    return evaluate_nn(graph(name), sample_inputs(graph(name)))


@cache
def values_before(name: str, step: int) -> dict[str, Any]:
    return values_of(stages(name)[step].before)


def is_real(value: Value) -> bool:
    return value.type.elem is Elem.REAL


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("name", NAMES)
def test_lowering_keeps_meaning(name: str) -> None:
    lowered = LowerToBits().run(graph(name))
    assert verify_nn(graph(name)) == ()
    assert verify_bit(lowered) == ()
    assert_same(evaluate_bit(lowered, sample_inputs(lowered)), expected(name))
    values = values_of(lowered)
    for value, found in trace_nn(graph(name), sample_inputs(lowered)):
        if value.name in values:
            plain = to_f32(found) if is_real(value) else found
            np.testing.assert_array_equal(values[value.name], plain, err_msg=value.name)


@pytest.mark.parametrize("step", range(len(PASSES)), ids=STEPS)
@pytest.mark.parametrize("name", NAMES)
def test_pipeline_keeps_meaning(name: str, step: int) -> None:
    stage = stages(name)[step]
    assert verify_bit(stage.after) == ()
    if stage.after is stage.before:
        return
    assert_same(evaluate_bit(stage.after, sample_inputs(stage.after)), expected(name))
    # Names keep their meaning, so a fault cannot hide behind signs that happen to be equal.
    before = values_before(name, step)
    for key, found in values_of(stage.after).items():
        if key in before:
            np.testing.assert_array_equal(found, before[key], err_msg=key)


@pytest.mark.parametrize("transform", dict.fromkeys(PASSES), ids=lambda item: item.name)
@pytest.mark.parametrize("name", NAMES)
def test_pass_alone_keeps_meaning(name: str, transform: Any) -> None:
    """Also where no other pass has prepared the graph."""
    lowered = LowerToBits().run(graph(name))
    changed = transform.run(lowered)
    assert verify_bit(changed) == ()
    if changed is not lowered:
        assert_same(evaluate_bit(changed, sample_inputs(changed)), expected(name))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_real_is_left(name: str) -> None:
    assert verify_lowered(stages(name)[-1].after) == ()


@pytest.mark.parametrize("layouts", LAYOUTS, ids=lambda item: item.rows.value)
@pytest.mark.parametrize("name", NAMES)
def test_layouts_keep_meaning(name: str, layouts: Any) -> None:
    placed = layouts.run(stages(name)[-2].after)
    assert verify_bit(placed) == ()
    assert_same(evaluate_bit(placed, sample_inputs(placed)), expected(name))


@pytest.mark.parametrize("name", NAMES)
def test_passes_are_done_after_the_pipeline(name: str) -> None:
    """A second run of a pass finds nothing, and says so with the same object."""
    finished = stages(name)[-1].after
    for transform in (*PASSES, EliminateDead()):
        assert transform.run(finished) is finished, transform.name


@pytest.mark.parametrize("name", NAMES)
def test_text_round_trip(name: str) -> None:
    network = graph(name)
    assert parse_nn(print_graph(network), network.constants) == network
    for stage in stages(name):
        text = print_graph(stage.after)
        again = parse_bit(text, stage.after.constants)
        assert again == stage.after
        assert print_graph(again) == text
