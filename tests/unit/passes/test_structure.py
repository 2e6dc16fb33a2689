"""What the passes make of networks: the shape of the result, not its meaning."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from bnncc.diagnostics import CompileError, InternalError
from bnncc.ir import bit
from bnncc.ir.graph import Output
from bnncc.ir.types import Elem, Layout
from bnncc.passes.assign_layouts import AssignLayouts
from bnncc.passes.lower_to_bits import LowerToBits
from bnncc.passes.pipeline import BIT_PASSES, lower_network, run_pipeline
from bnncc.passes.rewrite import Names
from tests.corpus import CORPUS, graph
from tests.networks import Network, square
from tests.stages import stages


def lowered(name: str) -> bit.BitGraph:
    return stages(name)[-2].after


def kinds(found: bit.BitGraph) -> Counter[str]:
    return Counter(type(node).__name__ for node in found.nodes)


FULLY_FUSED = {
    "mlp_mixed_gammas": 3, "mlp_ties": 3, "mlp_shift": 3, "mlp_ends_in_signs": 2, "mlp_ends_in_sums": 2,
    "conv_first": 3, "conv_first_negative": 3, "conv_first_mean_std": 3, "conv_first_unit": 3,
    "conv_first_pooled": 3, "conv_first_negative_pool": 2, "conv_i8": 2, "conv_no_normalize": 2,
    "flatten_before_norm": 2, "flatten_before_norm_positive": 2, "flatten_input": 2, "rectangular": 2,
    "wide_dense": 3, "padded_pool_before_norm": 2, "conv_first_negative_ties": 2,
    "conv_pad0_c33_k5s1d1": 3, "conv_pad1_c65_k3s2d1": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", FULLY_FUSED)
def test_binary_networks_become_layers_only(name: str) -> None:
    assert kinds(lowered(name)) == {"Layer": FULLY_FUSED[name]}


@pytest.mark.parametrize("name", [network.name for network in CORPUS])
def test_only_what_targets_know_is_left(name: str) -> None:
    for node in lowered(name).nodes:
        gone = (bit.BatchNorm, bit.ShiftBatchNorm, bit.Rescale, bit.ToF32)
        assert not isinstance(node, gone)
        if isinstance(node, (bit.Conv2d, bit.Dense)):
            assert node.x.type.elem is Elem.F32
        if isinstance(node, bit.Sign):
            assert node.x.type.elem is Elem.F32


@pytest.mark.parametrize("name", [network.name for network in CORPUS])
def test_no_constant_is_left_over(name: str) -> None:
    found = lowered(name)
    assert set(found.constants) == {ref.digest for ref in found.const_refs()}
    assert all(
        ref.type.elem in (Elem.SIGN, Elem.F32, Elem.I32, Elem.BOOL, Elem.I64) for ref in found.const_refs()
    )


def test_the_paper_order_pools_inside_the_layer() -> None:
    first, second, last = lowered("conv_first_pooled").nodes
    assert isinstance(first, bit.Layer)
    assert isinstance(second, bit.Layer)
    assert isinstance(last, bit.Layer)
    assert isinstance(first.epilogue, bit.ToSigns)
    assert isinstance(second.epilogue, bit.ToSigns)
    assert first.epilogue.flips is None
    assert first.epilogue.flips_after_pool is not None
    assert second.epilogue.flips is not None
    assert second.epilogue.flips_after_pool is None
    assert first.epilogue.border is not None
    assert first.epilogue.border.classes == 9
    assert last.window is None
    assert last.x.type.shape == (20, 2, 2)
    assert str(first.span) == "conv_first_pooled.bnn:2:3"


def test_minus_one_padding_needs_no_border() -> None:
    layer = lowered("conv_padm1_c20_k3s1d1").nodes[0]
    assert isinstance(layer, bit.Layer)
    assert layer.epilogue.border is None


def test_bounds_lie_in_the_reachable_range() -> None:
    for network in CORPUS:
        found = lowered(network.name)
        for node in found.nodes:
            if isinstance(node, bit.Layer) and isinstance(node.epilogue, bit.ToSigns):
                reach = node.weight.type.count // node.weight.type.channels
                reach *= {Elem.SIGN: 1, Elem.U8: 255, Elem.I8: 128}[node.x.type.elem]
                bounds = found.array(node.epilogue.bounds)
                assert bounds.dtype == np.int32
                assert np.abs(bounds.astype(np.int64)).max() <= reach + 1


def test_pooled_thresholds_per_pixel_move_before_the_pool() -> None:
    first = lowered("flatten_before_norm_positive").nodes[0]
    assert isinstance(first, bit.Layer)
    assert isinstance(first.epilogue, bit.ToSigns)
    assert first.epilogue.pool == square(2, stride=2)
    assert first.epilogue.border is not None


def test_equal_operations_are_done_once() -> None:
    found = lowered("pass_through")
    assert kinds(found) == {"BorderAffine": 1, "Affine": 1}
    assert found.outputs[1] == Output("normalized", found.outputs[2].value)


def test_different_operations_on_one_value_stay() -> None:
    net = Network("both")
    x = net.batch_norm(net.dense(net.input(Elem.SIGN, 9), 4))
    found = lower_network(net.output(net.relu(x), "relu").output(net.hard_tanh(x), "tanh").build())
    assert kinds(found) == {"Layer": 1, "Relu": 1, "HardTanh": 1}


def test_shared_sums_are_stored_once() -> None:
    found = lowered("shared_sum")
    assert kinds(found)["Layer"] == 3
    assert isinstance(found.nodes[0], bit.Layer)
    assert isinstance(found.nodes[0].epilogue, bit.ToSums)


@pytest.mark.parametrize(
    "name", ["conv_first_pooled", "two_inputs_two_outputs", "real_weights", "concat_real"]
)
def test_layouts(name: str) -> None:
    layouts = AssignLayouts(spatial=Layout.PLANES128, rows=Layout.ROWS8X128)
    placed = layouts.run(lowered(name))
    for node in placed.nodes:
        match node:
            case bit.Layer(window=None, x=x) if x.type.elem is Elem.SIGN:
                assert x.type.layout is Layout.ROWS8X128
            case bit.Layer(x=x) if x.type.elem is Elem.SIGN:
                assert x.type.layout is Layout.PLANES128
            case bit.Affine(x=x):
                assert x.type.layout is Layout.PLAIN
    assert all(output.value.type.layout is Layout.PLAIN for output in placed.outputs)


def test_shared_pools_are_not_repeated() -> None:
    assert kinds(lowered("shared_pool"))["MaxPool2d"] == 1


def test_tables_of_shared_sums_stay_in_the_layer() -> None:
    assert "BorderAffine" not in kinds(lowered("shortcut_sums"))
    assert "BorderAffine" not in kinds(lowered("shared_pool"))


def test_no_copy_where_the_layer_can_store_as_needed() -> None:
    layouts = AssignLayouts(spatial=Layout.PLANES128, rows=Layout.ROWS8X128)
    assert "ChangeLayout" not in kinds(layouts.run(lowered("conv_first_pooled")))


def test_sums_beyond_32_bits_are_refused() -> None:
    net = Network("huge")
    x = net.normalize(net.input(Elem.U8, 600))
    network = net.output(net.batch_norm(net.dense(x, 2))).build()
    lower_network(network)
    net = Network("huge")
    x = net.normalize(net.input(Elem.U8, 600), *_many_digits())
    network = net.output(net.batch_norm(net.dense(x, 2))).build()
    with pytest.raises(CompileError) as caught:
        lower_network(network)
    assert {item.code for item in caught.value.diagnostics} == {"E0290"}
    assert str(caught.value.diagnostics[0].span) == "huge.bnn:2:3"


def _many_digits() -> tuple[Fraction, Fraction]:
    return Fraction(100_003, 6_000_000), Fraction(-999, 1000)


def test_folded_constants_with_many_digits_are_fine() -> None:
    """A threshold absorbs them: nothing beyond 32 bits is ever computed."""
    net = Network("folded")
    x = net.normalize(net.input(Elem.U8, 600), *_many_digits())
    lower_network(net.output(net.sign(net.batch_norm(net.dense(x, 2))), "bits").build())


def test_observers_see_every_pass() -> None:
    seen: list[tuple[int, str]] = []
    lower_network(graph("conv_first"), lambda step, name, _: seen.append((step, name)))
    assert seen == list(enumerate(["lower-to-bits", *(item.name for item in BIT_PASSES)]))


def test_a_wrong_pass_is_found_at_once() -> None:
    class Wrong:
        name = "wrong"

        def run(self, found: bit.BitGraph) -> bit.BitGraph:
            return bit.BitGraph(name="x", inputs=(), nodes=found.nodes, outputs=found.outputs)

    before = LowerToBits().run(graph("conv_first"))
    with pytest.raises(InternalError, match="'wrong'"):
        run_pipeline(before, (Wrong(),))
    assert run_pipeline(before, (Wrong(),), verify=False).name == "x"


def test_names_stay_unique() -> None:
    names = Names.of(graph("conv_first"))
    assert [names.fresh("conv1"), names.fresh("conv1"), names.fresh("new")] == ["conv1.2", "conv1.3", "new"]
    array = np.zeros(3, np.float32)
    first = names.constant("bn1.beta", Elem.F32, array)
    assert first.name == "bn1.beta.2"
    assert names.constant("bn1.beta", Elem.F32, array) == first
