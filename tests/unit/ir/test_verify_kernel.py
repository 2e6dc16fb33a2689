"""Forms of weights: every order is a permutation that can be undone; the verifier sees what disagrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnncc.ir import kernel
from bnncc.ir.graph import digest_of, freeze
from bnncc.ir.packing import lane_outputs, pack_weights, repack_weights, weight_vectors, weight_words
from bnncc.ir.reference.program import run_program
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType
from bnncc.ir.verify_kernel import verify_kernel
from bnncc.passes.plan_memory import PlanMemory
from bnncc.passes.tile_weights import TileWeights
from tests.cuda_programs import ROWS, Bits, Store, inputs_of

FRAGMENT = kernel.LaneOrder.FRAGMENT
TILES = kernel.Packing(lanes=64, vector_bits=128, order=FRAGMENT, vector_multiple=2)


@pytest.fixture
def graph():
    b = Bits("net")
    program = b.output(b.layer(b.packed(300, layout=ROWS), 70, None, Store(layout=ROWS)), "signs").program()
    return TileWeights({"dense1": TILES}).run(program.graph)


def layer_of(graph):
    return next(node for node in graph.nodes if isinstance(node, kernel.XnorLayer))


def with_layer(graph, **fields):
    node = layer_of(graph)
    return graph.with_nodes(tuple(replace(n, **fields) if n is node else n for n in graph.nodes))


@pytest.mark.parametrize("lanes", [32, 64, 128, 256])
def test_lanes_of_a_quad_follow_one_another(lanes):
    """A thread t of four owns the columns 8 j + 2 t and the next."""
    outputs = lane_outputs(kernel.Packing(lanes=lanes, vector_bits=128, order=FRAGMENT))
    assert sorted(outputs) == list(range(lanes))
    for t in range(4):
        mine = [outputs[8 * j + 2 * t + e] for j in range(lanes // 8) for e in range(2)]
        assert mine == list(range(t * lanes // 4, (t + 1) * lanes // 4))


@pytest.mark.parametrize(("outputs", "channels", "size"), [(1, 1, 1), (70, 300, 3), (256, 128, 2)])
def test_forms_hold_the_same_weights(outputs, channels, size):
    rng = np.random.default_rng(3)
    signs = rng.choice(np.array([-1, 1], np.int8), (outputs, channels, size, size))
    plain = kernel.Packing(lanes=32, vector_bits=128)
    tiles = pack_weights(signs, TILES, Layout.PLANES128)
    np.testing.assert_array_equal(
        repack_weights(pack_weights(signs, plain, Layout.PLANES128), plain, TILES, outputs), tiles
    )
    assert tiles.shape[1] % 2 == 0
    natural = pack_weights(signs, replace(TILES, order=plain.order), Layout.PLANES128)
    assert np.array_equal(tiles, natural) == (outputs <= 2), "the first two lanes are the same in both orders"
    shape = (outputs, -(-channels // 128), size, size)
    np.testing.assert_array_equal(
        weight_vectors(weight_words(tiles, TILES), shape, Layout.PLANES128),
        weight_vectors(pack_weights(signs, plain, Layout.PLANES128), shape, Layout.PLANES128),
    )


def test_the_reference_honours_the_order(graph):
    """A layer that has its weights in tiles only gives the same."""
    node = layer_of(graph)
    only = with_layer(
        graph, weight=node.tiles.weight, packing=node.tiles.packing, tiles=None, weight_ones=None
    )
    assert verify_kernel(only) == ()
    programs = [PlanMemory(8).run(item) for item in (graph, only)]
    first, second = (run_program(program, inputs_of(program, 9)) for program in programs)
    np.testing.assert_array_equal(first["signs"], second["signs"])


def test_good_graphs(graph):
    assert verify_kernel(graph) == ()
    assert TileWeights({}).run(graph) is graph


@pytest.mark.parametrize(
    ("packing", "text"),
    [
        (replace(TILES, order=kernel.LaneOrder.NATURAL), "not the same signs"),
        (replace(TILES, lanes=128), "of shape"),
        (replace(TILES, vector_multiple=4, lanes=32), "of shape"),
        (replace(TILES, lanes=8), "whole words"),
        (replace(TILES, is_by_byte=True), "not transposed"),
    ],
)
def test_forms_that_do_not_fit(graph, packing, text):
    tiles = replace(layer_of(graph).tiles, packing=packing)
    (problem,) = verify_kernel(with_layer(graph, tiles=tiles))
    assert text in problem
    assert problem.startswith("%dense1 (from net.bnn:3:3")


def test_other_weights_in_tiles(graph):
    tiles = layer_of(graph).tiles
    array = graph.array(tiles.weight).copy()
    array[0, 0, 0] ^= 1
    other = freeze(array)
    ref = ConstRef("other", TensorType(Elem.U32, other.shape), digest_of(other))
    wrong = with_layer(
        replace(graph, constants={**graph.constants, ref.digest: other}), tiles=replace(tiles, weight=ref)
    )
    assert "not the same signs" in verify_kernel(wrong)[0]
    program = PlanMemory(8).run(wrong)
    with pytest.raises(AssertionError, match="wrong tiles"):
        run_program(program, inputs_of(program, 2))


def test_layouts_and_ones(graph):
    node = layer_of(graph)
    plain = replace(node.result, type=replace(node.result.type, layout=Layout.PLAIN))
    assert "stores StoreSigns as plain" in verify_kernel(with_layer(graph, result=plain))[0]
    unpacked = replace(node.x, type=replace(node.x.type, layout=Layout.PLAIN))
    assert "not packed" in verify_kernel(with_layer(graph, x=unpacked))[0]
    ones = freeze(graph.array(node.weight_ones) + 1)
    ref = replace(node.weight_ones, digest=digest_of(ones))
    wrong = with_layer(replace(graph, constants={**graph.constants, ref.digest: ones}), weight_ones=ref)
    assert "not those of its weights" in verify_kernel(wrong)[0]
