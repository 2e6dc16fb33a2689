"""First layers on tensor cores, executed by the emulator in every form, equal the reference bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.emulator import Schedule
from bnncc.ir.reference.program import run_program
from bnncc.ir.types import Elem
from bnncc.runtime.emulated import EmulatedExecutable
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from tests.codegen.cuda.layer_groups import integer_conv, integer_dense
from tests.codegen.cuda.test_golden import convnet, mlp
from tests.cuda_programs import ROWS, Bits, Store, inputs_of

ARCHS = ("sm_75", "sm_80", "sm_120")  # m8n8k16; m16n8k32; the same where single bits are emulated
SCHEDULES = (Schedule.ascending(), Schedule.descending(), Schedule.random(5))


def wide():
    """Images of whole vectors, copied as such; more images and outputs than a block takes."""
    b = Bits("wide")
    x = b.layer(b.input(Elem.U8, 784), 200, None, Store(layout=ROWS, spread=900, has_flips=True))
    return b.output(x, "signs").program()


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("make", [integer_dense, integer_conv, wide], ids=lambda make: make.__name__)
def test_layers(make, arch):
    program = make()
    artifact = CudaTarget(tier=Tier.BMMA, fuse=Fuse.LAYER).emit(program)
    assert {launch.tier for launch in artifact.launches if launch.tier} == {"imma"}
    executable = EmulatedExecutable.load(artifact, program.blob(), arch=arch)
    for schedule, images in zip(SCHEDULES, (9, 1, 36), strict=True):
        inputs = inputs_of(program, images, seed=images)
        expected = run_program(program, inputs)
        for name, array in executable.with_schedule(schedule).run(inputs).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
    executable.close()


@pytest.mark.parametrize("make", [convnet, mlp], ids=lambda make: make.__name__)
def test_the_cost_model_chooses(make):
    """One image stays with dp4a where rows of a product would be empty; ``popc`` always does."""
    program = make()
    artifact = CudaTarget(fuse=Fuse.LAYER).emit(program)
    first = program.graph.nodes[0].result.name
    uses = dict(artifact.tier_uses)[first]
    assert {use.arch for use in uses} == set(DEVICES)
    assert all("dp4a at 4096 images" in use.reason for use in uses)
    assert artifact.launches_for("sm_90a", 4096)[0].tier == "imma"
    popc = CudaTarget(tier=Tier.POPC, fuse=Fuse.LAYER).emit(program)
    assert popc.launches_for("sm_90a", 4096)[0].tier == "dp4a"
