"""Who runs a network as one launch, and when; where barriers stand; what things are called."""

from __future__ import annotations

import re

import pytest

from bnncc.ir import bit
from bnncc.ir.types import Elem, TensorType
from bnncc.targets.cuda.artifact import BarrierArgument, ConstantArgument, ImagesArgument, ValueArgument
from bnncc.targets.cuda.cost import Work
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.fuse import BARRIER_S, LAUNCH_S, MOST_PHASES, Candidate, Fuse, fuse_uses
from bnncc.targets.cuda.launch import MAP_THREADS
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from tests.codegen.cuda.layer_groups import GROUPS, SAME3, dense_chain, plain_values
from tests.cuda_programs import PLANES, ROWS, Bits, Store

F32x3 = TensorType(Elem.F32, (3,))


def convnet():
    b = Bits("convnet")
    x = b.layer(b.input(Elem.U8, 3, 32, 32), 128, SAME3, Store(has_border=True, layout=PLANES))
    x = b.layer(x, 256, SAME3, Store(has_border=True, layout=ROWS))
    return b.output(b.layer(x, 10, None, Store(kind="scores")), "scores").program()


def relus(count):
    b = Bits("relus")
    x = b.input(Elem.F32, 3)
    for _ in range(count):
        x = b.add("relu", bit.Relu, F32x3, x=x)
    return b.output(x).program()


def barriers(artifact):
    """Return for each phase whether a barrier stands before it."""
    (launch,) = artifact.persistent
    phases = artifact.source.text[artifact.source.text.index(launch.kernel + "(") :].split("// Phase ")[1:]
    return ["bnncc_grid_barrier" in phase for phase in phases]


def test_small_batches_are_one_launch_and_large_ones_are_not():
    artifact = CudaTarget().emit(convnet())
    for arch in DEVICES:
        assert artifact.persistent_for(arch, 1) is not None, arch
        assert artifact.persistent_for(arch, 4096) is None, arch
        limits = [artifact.persistent_for(arch, 2**power) is not None for power in range(13)]
        assert limits == sorted(limits, reverse=True), arch
    assert artifact.persistent_for(None, 1) is None, "nothing is known of the device"
    assert all("us in one launch" in use.reason for use in artifact.fuse_uses)


def test_tensor_cores_only_where_they_are():
    artifact = CudaTarget().emit(convnet())
    tiers = {
        arch: {phase.tier for phase in artifact.persistent_for(arch, 1).phases} - {"dp4a"} for arch in DEVICES
    }
    for arch, device in DEVICES.items():
        assert ("bmma" in tiers[arch]) == (device.b1_form is not None), arch


def test_a_kernel_a_layer():
    artifact = CudaTarget(fuse=Fuse.LAYER).emit(convnet())
    assert artifact.persistent == artifact.fuse_uses == ()
    assert "persistent" not in artifact.source.text


@pytest.mark.parametrize("tier", [Tier.POPC, Tier.BMMA, Tier.AUTO], ids=str)
def test_nothing_but_the_whole_network(tier):
    artifact = CudaTarget(tier=tier, fuse=Fuse.PERSISTENT).emit(convnet())
    assert artifact.all_launches == artifact.launches_for("sm_90a", 1) == ()
    for arch in ("sm_80", "sm_90a"):
        assert artifact.persistent_for(arch, 4096) in artifact.persistent_on(arch)
    assert artifact.persistent_for(None, 1) is not None
    text = artifact.source.text
    assert text.count("__global__") == len(artifact.persistent)


def test_one_layer_has_no_barrier_to_gain_by():
    assert CudaTarget().emit(relus(1)).persistent == ()
    assert CudaTarget().emit(relus(MOST_PHASES + 1)).persistent == ()
    assert CudaTarget(fuse=Fuse.PERSISTENT).emit(relus(MOST_PHASES + 1)).persistent


@pytest.mark.parametrize("make", GROUPS, ids=lambda make: make.__name__)
def test_the_launch_matches_the_kernel(make):
    program = make()
    artifact = CudaTarget(fuse=Fuse.PERSISTENT).emit(program)
    for launch in artifact.persistent:
        text = artifact.source.text
        found = re.search(
            rf"__launch_bounds__\((\d+), 2\)\n{launch.kernel}\(\n(.*?)\)\n{{", text, re.M | re.S
        )
        assert int(found[1]) == launch.threads == MAP_THREADS
        declared = [line.strip() for line in found[2].split(",")]
        assert len(declared) == len(launch.arguments)
        for line, argument in zip(declared, launch.arguments, strict=True):
            match argument:
                case ImagesArgument():
                    assert line == "int images"
                case BarrierArgument():
                    assert line == "unsigned *barrier"
                case ConstantArgument():
                    assert line.startswith("const ")
                    assert "__restrict__" in line
                case ValueArgument(value=value):
                    is_input = value in {item.name for item in artifact.inputs}
                    assert line.startswith("const ") == is_input, (
                        "what layers exchange is never read-only data"
                    )
                    assert ("__restrict__" in line) == is_input
        assert [phase.node for phase in launch.phases] == [node.result.name for node in program.graph.nodes]
        assert launch.written == {node.result.name for node in program.graph.nodes}


def test_a_barrier_stands_where_a_layer_waits_for_another():
    artifact = CudaTarget(tier=Tier.POPC, fuse=Fuse.PERSISTENT).emit(dense_chain())
    assert barriers(artifact) == [False, True, True, True]
    assert artifact.persistent[0].barriers == 3


def test_layers_that_do_not_touch_each_other_have_none():
    b = Bits("fork")
    x, y = b.input(Elem.F32, 3, name="x"), b.input(Elem.F32, 3, name="y")
    left, right = (b.add("relu", bit.Relu, F32x3, x=value) for value in (x, y))
    b.output(left, "left")
    b.output(b.add("sum", bit.Add, F32x3, x=left, y=right), "sum")
    assert barriers(CudaTarget(fuse=Fuse.PERSISTENT).emit(b.program())) == [False, False, True]


def test_memory_that_is_used_again_has_a_barrier():
    """The third value lies where the first one was: its writers wait for the readers of the first."""
    program = relus(4)
    places = [program.buffer(node.result).offset_bytes_per_image for node in program.graph.nodes]
    assert places[0] == places[2], "the plan uses memory again"
    assert barriers(CudaTarget(fuse=Fuse.PERSISTENT).emit(program)) == [False, True, True, True]


def test_names_of_the_user_and_of_the_kernel_are_told_apart():
    b = Bits("net")
    x = b.input(Elem.F32, 3, name="images")
    y = b.add("barrier", bit.Relu, F32x3, x=x)
    z = b.add("shared", bit.Relu, F32x3, x=y)
    text = CudaTarget(fuse=Fuse.PERSISTENT).emit(b.output(z, "i").program()).source.text
    assert "const float *__restrict__ images_," in text
    assert "int images," in text


def test_the_largest_layer_decides_about_shared_memory():
    artifact = CudaTarget(tier=Tier.POPC).emit(convnet())
    (launch,) = artifact.persistent
    assert launch.shared_bytes == max(item.geometry.shared_bytes for item in artifact.launches)


def test_blocks_are_those_that_find_a_tile():
    """More than the tiles of the largest layer would only wait; fewer than the device holds are enough."""
    (launch,) = CudaTarget(tier=Tier.POPC).emit(convnet()).persistent
    tiles = launch.most_tiles(1)
    assert tiles == max(phase.geometry.tiles(1) for phase in launch.phases)
    assert launch.blocks(1, 10_000) == tiles
    assert launch.blocks(1, 3) == 3
    assert launch.blocks(64, 10_000) > tiles
    assert launch.blocks(0, 8) >= 1


def test_costs_decide():
    """A kernel that takes as long as the launches it saves is not taken."""
    geometry = CudaTarget().emit(plain_values()).launches[0].geometry
    traffic = CudaTarget().emit(plain_values()).launches[0].traffic
    phases = ((geometry, traffic, Work()),) * 3

    def uses(barriers, layers):
        candidate = Candidate(kernel="whole", needs_bmma=False, barriers=barriers, phases=phases)
        return fuse_uses((candidate,), lambda _device, _images: layers, 3, Fuse.AUTO)

    dear = round(3 * LAUNCH_S / BARRIER_S)
    assert all(use.kernel is None for use in uses(dear, 0.0))
    assert all(use.kernel == "whole" for use in uses(2, 0.0))
    assert fuse_uses((), lambda _device, _images: 0.0, 3, Fuse.AUTO) == ()
