"""The PTX of the kernels that run anywhere, executed by the emulator, equals the reference bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.emulator import Schedule
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.reference.program import run_program
from bnncc.passes.pipeline import lower_network
from bnncc.runtime.emulated import EmulatedExecutable
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import lower_for
from tests.codegen.cuda.layer_groups import GROUPS, conv_large, conv_stores, dense_stores
from tests.corpus import CORPUS
from tests.cuda_programs import inputs_of

LAYERS = CudaTarget(tier=Tier.POPC, fuse=Fuse.LAYER)
SCHEDULES = (Schedule.ascending(), Schedule.descending(), Schedule.random(5))


def load(program: KernelProgram, arch: str = "sm_80") -> EmulatedExecutable:
    return EmulatedExecutable.load(LAYERS.emit(program), program.blob(), arch=arch)


def assert_equals_reference(executable: EmulatedExecutable, program: KernelProgram, images: int) -> None:
    inputs = inputs_of(program, images, seed=images)
    expected = run_program(program, inputs)
    for name, array in executable.run(inputs).items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("make", GROUPS, ids=lambda make: make.__name__)
def test_layers(make):
    program = make()
    executable = load(program)
    sizes = (9, 7, 8, 1, 2) if make is not conv_large else (2, 1, 1)  # its kernels are slow here
    for schedule, images in zip((*SCHEDULES, *SCHEDULES), sizes, strict=False):
        assert_equals_reference(executable.with_schedule(schedule), program, images)
    executable.close()


@pytest.mark.parametrize("arch", ["sm_75", "sm_90a", "sm_120"])
@pytest.mark.parametrize("make", [conv_stores, dense_stores], ids=lambda make: make.__name__)
def test_ptx_of_other_architectures(make, arch):
    program = make()
    executable = load(program, arch)
    assert_equals_reference(executable, program, 3)
    executable.close()


@pytest.mark.parametrize("graph", CORPUS, ids=lambda graph: graph.name)
def test_corpus(graph):
    program = lower_for(lower_network(graph), CudaTarget()).program
    executable = load(program)
    assert_equals_reference(executable.with_schedule(Schedule.random(11)), program, 9)
    executable.close()


def test_batches_are_cut_and_joined():
    program = GROUPS[0]()
    executable = load(program)
    assert_equals_reference(executable, program, 130)
    empty = executable.run(inputs_of(program, 0))
    assert {array.shape[0] for array in empty.values()} == {0}
    executable.close()


def test_a_wrong_limit_is_seen():
    """The comparison can fail: one threshold more or less changes the result."""
    program = GROUPS[1]()
    artifact = LAYERS.emit(program)
    blob = bytearray(program.blob())
    limits = next(item for item in program.slices if "bounds" in item.ref.name)
    table = np.frombuffer(blob, np.int32, limits.size_bytes // 4, limits.offset_bytes)
    table[:32] += 40
    executable = EmulatedExecutable.load(artifact, bytes(blob))
    with pytest.raises(AssertionError):
        assert_equals_reference(executable, program, 9)
    executable.close()
