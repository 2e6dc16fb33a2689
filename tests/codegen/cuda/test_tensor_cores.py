"""The tensor-core kernels, executed by the emulator in every form, equal the reference bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.emulator import Schedule
from bnncc.ir.kernel import KernelProgram, XnorLayer
from bnncc.ir.reference.program import run_program
from bnncc.passes.pipeline import lower_network
from bnncc.runtime.emulated import EmulatedExecutable
from bnncc.targets.cuda import bmma
from bnncc.targets.cuda.cut import CUTS, WIDE_CUTS, Cut
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import lower_for
from tests.codegen.cuda.layer_groups import (
    BINARY_GROUPS,
    SAME3,
    conv_kernels,
    conv_large,
    dense_channels,
)
from tests.corpus import FEW_AND_THE_REST
from tests.cuda_programs import PLANES, ROWS, Bits, Store, inputs_of

ARCHS = ("sm_75", "sm_80", "sm_90a")  # m8n8k128 xor; m16n8k256 xor; m16n8k256 and
SCHEDULES = (Schedule.ascending(), Schedule.descending(), Schedule.random(5))


def load(program: KernelProgram, arch: str, tier: Tier = Tier.BMMA) -> EmulatedExecutable:
    artifact = CudaTarget(tier=tier, fuse=Fuse.LAYER).emit(program)
    return EmulatedExecutable.load(artifact, program.blob(), arch=arch)


def assert_equals_reference(executable: EmulatedExecutable, program: KernelProgram, images: int) -> None:
    inputs = inputs_of(program, images, seed=images)
    expected = run_program(program, inputs)
    for name, array in executable.run(inputs).items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("make", BINARY_GROUPS, ids=lambda make: make.__name__)
def test_layers(make, arch):
    program = make()
    executable = load(program, arch)
    sizes = (9, 1, 7) if make is not conv_large else (1, 2)  # its kernels are slow here
    for schedule, images in zip(SCHEDULES, sizes, strict=False):
        assert_equals_reference(executable.with_schedule(schedule), program, images)
    executable.close()


@pytest.mark.parametrize("make", [dense_channels, conv_kernels], ids=lambda make: make.__name__)
def test_more_images_than_a_block_takes(make):
    program = make()
    executable = load(program, "sm_80")
    assert_equals_reference(executable, program, 61 if make is dense_channels else 17)
    executable.close()


def odd_layers() -> KernelProgram:
    """Layers whose rows, columns and vectors fill no block, and take several steps."""
    b = Bits("odd_layers")
    rows = b.packed(1190, layout=ROWS, name="rows")
    b.output(b.layer(rows, 161, None, Store(layout=ROWS, has_flips=True)), "dense")
    b.output(b.layer(rows, 37, None, Store(kind="scores")), "scores")
    image = b.packed(300, 11, 9, name="image")
    b.output(b.layer(image, 161, SAME3, Store(has_border=True, has_flips=True, layout=PLANES)), "conv")
    b.output(b.layer(image, 35, SAME3, Store(kind="sums", multiply=3, has_border=True)), "sums")
    return b.program()


EVERY_CUT = (*CUTS, *WIDE_CUTS, Cut(warps_m=4, warps_n=1, m_tiles=1, n_tiles=16, step=2, stages=4))


@pytest.mark.parametrize(
    ("number", "cut"),
    [
        pytest.param(number, cut, marks=() if number % 4 == 0 else pytest.mark.slow)
        for number, cut in enumerate(EVERY_CUT)
    ],
    ids=lambda item: str(item) if isinstance(item, int) else f"{item.rows}x{item.columns}",
)
def test_every_cut(number, cut, monkeypatch):
    monkeypatch.setattr(bmma, "THROUGHPUT", bmma.Goal(cuts=(cut,), batches=(32,)))
    program = odd_layers()
    executable = load(program, ARCHS[number % len(ARCHS)])
    assert_equals_reference(executable.with_schedule(Schedule.random(3)), program, 9)
    executable.close()


@pytest.mark.parametrize("graph", FEW_AND_THE_REST, ids=lambda graph: graph.name)
def test_corpus(graph):
    program = lower_for(lower_network(graph), CudaTarget()).program
    if not any(isinstance(node, XnorLayer) for node in program.graph.nodes):
        return  # its kernels are those of the other tier's test
    executable = load(program, "sm_90a")
    assert_equals_reference(executable.with_schedule(Schedule.random(11)), program, 9)
    executable.close()


def test_tiers_change_within_one_network():
    """The launches of a batch are those that the selection says: both tiers read the same weights."""
    b = Bits("mixed")
    x = b.layer(b.packed(2000, layout=ROWS), 600, None, Store(layout=ROWS))
    program = b.output(b.layer(x, 10, None, Store(kind="scores")), "scores").program()
    artifact = CudaTarget(fuse=Fuse.LAYER).emit(program)
    executable = load(program, "sm_80", Tier.AUTO)
    seen = set()
    for images in (1, 128):
        seen.add(tuple(launch.tier for launch in artifact.launches_for("sm_80", images) if launch.tier))
        assert_equals_reference(executable, program, images)
    assert len(seen) == 2
    executable.close()


def test_wrong_ones_are_seen():
    """Where common ones are counted, the ones of the weights matter; where mismatches are, they do not."""
    program = dense_channels()
    artifact = CudaTarget(tier=Tier.BMMA, fuse=Fuse.LAYER).emit(program)
    blob = bytearray(program.blob())
    ones = next(item for item in program.slices if item.ref.name.endswith(".ones"))
    np.frombuffer(blob, np.int32, ones.size_bytes // 4, ones.offset_bytes)[:] += 2
    for arch, is_seen in (("sm_80", False), ("sm_90a", True)):
        executable = EmulatedExecutable.load(artifact, bytes(blob), arch=arch)
        if is_seen:
            with pytest.raises(AssertionError):
                assert_equals_reference(executable, program, 9)
        else:
            assert_equals_reference(executable, program, 9)
        executable.close()
