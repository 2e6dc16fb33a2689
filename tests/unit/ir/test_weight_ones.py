"""The ones of the weights stand beside them, and limits lie where mismatches can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnncc.ir import kernel
from bnncc.ir.graph import freeze
from bnncc.ir.packing import pack_weights, weight_ones
from bnncc.ir.reference.program import run_program
from bnncc.ir.types import Layout
from tests.cuda_programs import ROWS, Bits, Store, inputs_of


@pytest.fixture
def program():
    b = Bits("net")
    return b.output(b.layer(b.packed(70, layout=ROWS), 40, None, Store(spread=200)), "signs").program()


def layer_of(program):
    return next(node for node in program.graph.nodes if isinstance(node, kernel.XnorLayer))


@pytest.mark.parametrize("lanes", [1, 16, 32])
def test_ones_of_every_output(lanes):
    rng = np.random.default_rng(5)
    signs = rng.choice(np.array([-1, 1], np.int8), (40, 20, 3, 3))
    packing = kernel.Packing(lanes=lanes, vector_bits=128)
    ones = weight_ones(pack_weights(signs, packing, Layout.PLANES128))
    np.testing.assert_array_equal(ones[:40], (signs > 0).sum(axis=(1, 2, 3)))
    assert ones.shape == (64,)
    assert not ones[40:].any()


def test_wrong_ones_are_a_fault_of_the_compiler(program):
    ref = layer_of(program).weight_ones
    constants = dict(program.graph.constants)
    constants[ref.digest] = freeze(constants[ref.digest] + 1)
    wrong = replace(program, graph=replace(program.graph, constants=constants))
    run_program(program, inputs_of(program, 2))
    with pytest.raises(AssertionError, match="wrong ones"):
        run_program(wrong, inputs_of(program, 2))


def test_limits_lie_between_none_and_all_mismatches(program):
    node = layer_of(program)
    limits = program.graph.array(node.store.limits)
    assert (limits.min(), limits.max()) == (-1, node.fan_in_bits), "this network's bounds exceed its sums"
