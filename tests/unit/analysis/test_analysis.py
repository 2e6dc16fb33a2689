"""Ranges, lifetimes, cost and summary."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.analysis.cost import Cost, cost, costs
from bnncc.analysis.liveness import lifetimes
from bnncc.analysis.ranges import Interval, ranges, sums_range
from bnncc.analysis.summary import summarize
from bnncc.ir.graph import operands
from bnncc.ir.reference import trace_bit
from bnncc.ir.types import Elem, Layout
from bnncc.passes.lower_to_bits import LowerToBits
from tests.corpus import CORPUS, graph
from tests.networks import Network, sample_inputs, square, unbound
from tests.stages import stages


@pytest.mark.parametrize("name", [network.name for network in CORPUS])
def test_values_lie_in_their_ranges(name: str) -> None:
    for stage in (stages(name)[5], stages(name)[-1]):
        known = ranges(stage.before)
        for value, found in trace_bit(stage.before, sample_inputs(stage.before)):
            if value.name in known:
                assert isinstance(found, np.ndarray)
                assert known[value.name].low <= found.min()
                assert found.max() <= known[value.name].high
            else:
                assert value.type.elem in (Elem.REAL, Elem.F32)


def test_range_of_sums_is_reached() -> None:
    weight = np.array([[1, 1, -1], [1, -1, -1]], np.int8)
    assert sums_range(Interval(-1, 1), weight) == Interval(-3, 3)
    assert sums_range(Interval(0, 255), weight) == Interval(-510, 510)
    assert sums_range(Interval(2, 3), weight) == Interval(2 - 6, 6 - 2)


def test_padding_widens_a_range() -> None:
    """One pixel, seen by every tap of one window: what is outside decides the extremes."""
    net = Network("padded")
    y = net.conv(net.input(Elem.U8, 1, 2, 2), 1, square(3, padding=1), pad_value=-1)
    found = LowerToBits().run(net.output(y, "sums").build())
    weight = found.array(found.nodes[0].weight)
    positive, negative = int((weight > 0).sum()), int((weight < 0).sum())
    assert ranges(found)["conv1"] == Interval(-positive - 255 * negative, 255 * positive + negative)


def test_intervals() -> None:
    assert Interval(-2, 3).scaled(-2) == Interval(-6, 4)
    assert Interval(-2, 3).plus(Interval(1, 1)) == Interval(-1, 4)
    assert Interval(-2, 3).union(Interval(5, 6)) == Interval(-2, 6)


@pytest.mark.parametrize("name", [network.name for network in CORPUS])
def test_lifetimes_cover_all_uses(name: str) -> None:
    found = stages(name)[-1].after
    known = lifetimes(found)
    for index, node in enumerate(found.nodes):
        assert known[node.result.name].first == index
        for value in operands(node):
            assert known[value.name].first < index <= known[value.name].last
    for output in found.outputs:
        assert known[output.value.name].last == len(found.nodes)


def test_operands_and_result_overlap() -> None:
    found = stages("mlp_mixed_gammas")[-1].after
    image, first, second, third = lifetimes(found).values()
    assert image.overlaps(first)
    assert first.overlaps(second)
    assert not image.overlaps(second)
    assert not first.overlaps(third)


def test_cost_of_a_fused_network() -> None:
    found = costs(stages("conv_first_pooled")[-2].after)
    assert list(found.values()) == [
        Cost(
            integer_macs=12 * 8 * 8 * 27,
            weight_bits=12 * 27 + 9 * 12 * 32 + 12,
            input_bits=3 * 64 * 8,
            output_bits=12 * 16 * 8,
        ),
        Cost(
            binary_macs=20 * 4 * 4 * 12 * 9,
            weight_bits=20 * 12 * 9 + 9 * 20 * 32 + 20,
            input_bits=12 * 16 * 8,
            output_bits=80 * 8,
        ),
        Cost(binary_macs=800, float_ops=20, weight_bits=800 + 640, input_bits=640, output_bits=320),
    ]


def test_packed_values_count_padding_bits() -> None:
    packed = stages("conv_first_pooled")[-1].after
    assert cost(packed.nodes[1]).input_bits == 4 * 4 * 128
    total = Cost()
    for item in costs(packed).values():
        total = total.plus(item)
    assert total.binary_macs == 34_560 + 800


def test_summary() -> None:
    stripped, _ = unbound(graph("conv_first_pooled"))
    found = summarize(stripped)
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["conv1"].input_bits == 8
    assert by_name["conv1"].other_macs == 20_736
    assert by_name["conv2"].binary_macs == 34_560
    assert by_name["conv2"].input_bits == 1
    assert by_name["conv2"].memory_bytes == 270
    assert by_name["bn2"].real_parameters == 80
    assert found.binary_parameters == 324 + 2160 + 800
    assert found.real_parameters == 48 + 80 + 40
    assert found.memory_bytes == 41 + 270 + 100 + 4 * 168
    assert found.float_memory_bytes == 4 * (3284 + 168)
    assert found.compression == pytest.approx(12.75, abs=0.01)
    assert (found.binary_macs, found.other_macs) == (35_360, 20_736)
    padding = found.padding[Layout.NHWC_WORDS64]
    assert (padding.signs, padding.stored_bits) == (12 * 16 + 20 * 16, 2 * 64 * 16)
    assert padding.wasted_bits == 2048 - 512
