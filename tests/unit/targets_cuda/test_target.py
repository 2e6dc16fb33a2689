"""What the target emits besides the kernels' text: names, launches, places of arguments."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bnncc.ir import bit
from bnncc.ir.kernel import Role
from bnncc.ir.types import Elem, TensorType
from bnncc.runtime.addresses import Addresses
from bnncc.targets.cuda.artifact import ConstantArgument, ImagesArgument, ValueArgument
from bnncc.targets.cuda.target import CudaTarget, kernel_names
from tests.codegen.cuda.layer_groups import GROUPS, conv_large, conv_pools, dense_chain, plain_values
from tests.cuda_programs import Bits, Store


@pytest.mark.parametrize("make", GROUPS, ids=lambda make: make.__name__)
def test_emission_is_deterministic_and_free_of_paths_and_weights(make):
    first, second = CudaTarget().emit(make()), CudaTarget().emit(make())
    assert first == second
    text = first.source.text
    assert "#include" not in text
    assert "/home" not in text
    assert len(text) < 12_000 * (1 + len(first.all_launches)), "weights are not in the source"


@pytest.mark.parametrize("make", GROUPS, ids=lambda make: make.__name__)
def test_launches_match_the_kernels(make):
    program = make()
    artifact = CudaTarget().emit(program)
    assert [launch.node for launch in artifact.launches] == [node.result.name for node in program.graph.nodes]
    for launch in artifact.all_launches:
        found = re.search(rf"^{launch.kernel}\(\n(.*?)\)\n{{", artifact.source.text, re.M | re.S)
        assert found, launch.kernel
        declared = found[1].split(",")
        assert len(declared) == len(launch.arguments)
        for text, argument in zip(declared, launch.arguments, strict=True):
            assert ("*" in text) == (not isinstance(argument, ImagesArgument))
        assert (
            f"{launch.geometry.threads}"
            in re.search(rf"__launch_bounds__\((\d+).*\n{launch.kernel}\(", artifact.source.text)[1]
        )
        assert launch.arguments.count(ValueArgument(launch.node)) == 1
        constants = [item for item in launch.arguments if isinstance(item, ConstantArgument)]
        assert all(item.offset_bytes % 16 == 0 for item in constants), "vectors are loaded from there"


def test_comments_name_the_source_line():
    text = CudaTarget().emit(conv_pools()).source.text
    assert "// conv1: from conv_pools.bnn:3:3" in text
    assert (
        "sign[33, 9, 10] -> xnor conv 3x3 padding 1, 1, 1, 1 -> threshold (9 border classes) -> flip" in text
    )


def test_names_that_fall_together_in_c_are_told_apart():
    b = Bits("net")
    x = b.input(Elem.F32, 3)
    y = b.add("a.b", bit.Relu, TensorType(Elem.F32, (3,)), x=x)
    z = b.add("a_b", bit.Relu, TensorType(Elem.F32, (3,)), x=y)
    program = b.output(z).program()
    assert kernel_names(program) == ("bnncc_net_a_b1", "bnncc_net_a_b1_2")


def test_a_comment_cannot_leave_its_line():
    b = Bits("net")
    x = b.input(Elem.F32, 3)
    b.output(b.add("relu", bit.Relu, TensorType(Elem.F32, (3,)), x=x))
    node = b.nodes[0]
    b.nodes[0] = replace(
        node, span=replace(node.span, source=replace(node.span.source, name="a\n}; evil\\\n"))
    )
    text = CudaTarget().emit(b.program()).source.text
    assert "\n}; evil" not in text


def test_addresses_of_a_batch():
    artifact = CudaTarget().emit(dense_chain())
    outside = {"image": 1 << 20, artifact.outputs[0].value.name: 1 << 21}
    addresses = Addresses(artifact=artifact, images=9, workspace=1 << 30, blob=1 << 40, outside=outside)
    places = [
        dict(zip(launch.arguments, addresses.arguments(launch), strict=True)) for launch in artifact.launches
    ]
    assert places[0][ValueArgument("image")] == 1 << 20
    assert places[1][ImagesArgument()] == 9
    for place in places:
        for argument, address in place.items():
            match argument:
                case ValueArgument(value=value) if artifact.buffer(value).role is Role.WORKSPACE:
                    assert address == (1 << 30) + artifact.buffer(value).offset_bytes_per_image * 16
                case ConstantArgument(offset_bytes=offset_bytes):
                    assert address == (1 << 40) + offset_bytes


def test_traffic_is_the_floor():
    program = dense_chain()
    launch = next(item for item in CudaTarget().emit(program).launches if item.node == "dense1")
    assert launch.traffic.read_bytes_per_image == 5 * 4 * 16
    assert launch.traffic.written_bytes_per_image == -(-2100 // 128) * 16


def test_the_large_layers_reach_every_way_to_stage_the_input():
    text = CudaTarget().emit(conv_large()).source.text
    assert "PLANES = 10" in text
    assert "STAGED = 8;" in text
    assert "activations are read where they lie" in text


def test_every_operation_of_the_kernel_level_is_covered_by_a_group():
    seen = {type(node) for make in GROUPS for node in make().graph.nodes}
    from bnncc.ir.kernel import KernelOp

    assert seen == set(KernelOp.__args__)
    assert plain_values().graph.nodes


def test_a_store_flag_changes_the_text():
    def text(**flags):
        b = Bits("net")
        return (
            CudaTarget().emit(b.output(b.layer(b.packed(33), 20, None, Store(**flags))).program()).source.text
        )

    assert "flips[group]" in text(has_flips=True)
    assert "flips[group]" not in text()
