"""Whole networks in one launch, executed by the emulator on grids of any size, equal the reference."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

import bnncc
from benchmarks.gpu_check.networks import NAMES, example
from bnncc._resources import resource_dir
from bnncc.data import load_dataset
from bnncc.diagnostics import DataError, PlatformError
from bnncc.emulator import EmulatorFault, FaultKind, Schedule
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.reference.program import run_program
from bnncc.ir.types import Elem
from bnncc.passes.pipeline import lower_network
from bnncc.runtime.emulated import EmulatedExecutable
from bnncc.runtime.session import Session
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import lower_for
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.sass import disassemble
from tests.codegen.cuda.layer_groups import POOL2, SAME3, dense_chain, plain_values, signs_of_signs
from tests.corpus import FEW_AND_THE_REST
from tests.cuda_programs import ROWS, Bits, Store, inputs_of

SCHEDULES = (Schedule.ascending(), Schedule.descending(), Schedule.random(5))
GRIDS = (1, 2, 7, 40)
TIERS = (Tier.POPC, Tier.BMMA)


def convnet() -> KernelProgram:
    """Every kind of layer in a row: integer, binary, pooled, dense, scores."""
    b = Bits("convnet")
    x = b.layer(b.input(Elem.U8, 3, 12, 10), 70, SAME3, Store(has_border=True))
    pooled = Store(has_border=True, pool=POOL2, has_flips_after_pool=True, layout=ROWS)
    x = b.layer(x, 130, SAME3, pooled)
    x = b.layer(x, 300, None, Store(layout=ROWS, has_flips=True))
    return b.output(b.layer(x, 10, None, Store(kind="scores")), "scores").program()


def artifact_of(program, tier=Tier.POPC):
    return CudaTarget(tier=tier, fuse=Fuse.PERSISTENT).emit(program)


def load(program, tier=Tier.POPC, *, arch="sm_80", blocks=7, artifact=None):
    made = artifact or artifact_of(program, tier)
    return EmulatedExecutable.load(made, program.blob(), arch=arch, resident_blocks=blocks)


def assert_equals_reference(executable, program, inputs):
    expected = run_program(program, inputs)
    for name, array in executable.run(inputs).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("tier", TIERS, ids=str)
@pytest.mark.parametrize("make", [convnet, dense_chain], ids=lambda make: make.__name__)
def test_any_grid_will_do(make, tier):
    program = make()
    for blocks, images in zip(GRIDS, (5, 1, 2, 9), strict=True):
        executable = load(program, tier, blocks=blocks)
        for schedule in SCHEDULES:  # three launches that share a counter, never reset
            assert_equals_reference(
                executable.with_schedule(schedule), program, inputs_of(program, images, seed=blocks)
            )
        executable.close()


@pytest.mark.parametrize(
    ("arch", "tier"), [("sm_75", Tier.BMMA), ("sm_90a", Tier.BMMA), ("sm_120", Tier.POPC)], ids=str
)
def test_architectures(arch, tier):
    program = convnet()
    executable = load(program, tier, arch=arch)
    assert_equals_reference(executable.with_schedule(Schedule.random(2)), program, inputs_of(program, 3))
    executable.close()


@pytest.mark.parametrize("make", [plain_values, signs_of_signs], ids=lambda make: make.__name__)
def test_element_wise_layers(make):
    program = make()
    executable = load(program)
    assert_equals_reference(executable, program, inputs_of(program, 3))
    executable.close()


@pytest.mark.parametrize(
    "graph",
    FEW_AND_THE_REST,
    ids=lambda graph: graph.name,
)
def test_corpus(graph):
    program = lower_for(lower_network(graph), CudaTarget()).program
    executable = load(program)
    for schedule in SCHEDULES:
        assert_equals_reference(executable.with_schedule(schedule), program, inputs_of(program, 9))
    executable.close()


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_examples(name, tier):
    program = example(name)
    for arch in ("sm_80", "sm_90a"):
        executable = load(program, tier, arch=arch)
        for schedule in SCHEDULES:
            assert_equals_reference(executable.with_schedule(schedule), program, inputs_of(program, 2))
        executable.close()


def real_images(data, count):
    if not os.environ.get("BNNCC_DATA"):
        pytest.skip("BNNCC_DATA names no folder of data sets")
    try:
        return load_dataset(data, download=False).test.images[:count]
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("tier", TIERS, ids=str)
@pytest.mark.parametrize(
    ("name", "data"),
    [("mnist_mlp", "mnist"), pytest.param("cifar10_convnet", "cifar10", marks=pytest.mark.slow)],
)
def test_real_images(name, data, tier):
    program = example(name)
    images = real_images(data, 20)
    executable = load(program, tier, arch="sm_90a")
    for part in np.split(images, [1, 4]):
        (value,) = program.graph.inputs
        assert_equals_reference(executable, program, {value.name: part.reshape(-1, *value.type.shape)})
    executable.close()


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS, ids=str)
@pytest.mark.parametrize("name", ["mnist_mlp_small", "mnist_convnet"])
def test_trained_networks_in_a_package(name, tier):
    images = real_images("mnist", 20)
    examples = resource_dir("examples")
    package = bnncc.compile(
        examples / f"{name}.bnn",
        examples / "weights" / f"{name}.safetensors",
        target=("cuda",),
        arch="sm_80",
        tier=tier.value,
        fuse="persistent",
    )
    pixels = images.reshape(20, 1, 28, 28)
    with Session(package, "ref") as reference, Session(package, "emulator") as session:
        np.testing.assert_array_equal(session(pixels), reference(pixels))


def spoiled(program, old, new):
    artifact = artifact_of(program)
    text = artifact.source.text
    assert old in text
    source = replace(artifact.source, text=text.replace(old, new))
    return replace(artifact, files=(source,))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    bnncc_grid_barrier(barrier);\n", ""),
        ("atom.add.release.gpu", "atom.add.relaxed.gpu"),
        ("ld.acquire.gpu", "ld.relaxed.gpu"),
        ("        __syncthreads();  // shared memory is free again\n", ""),
    ],
    ids=["no barrier", "no release", "no acquire", "shared memory too early"],
)
def test_a_fault_is_found(old, new):
    program = convnet()
    executable = load(program, blocks=3, artifact=spoiled(program, old, new))
    kinds = set()
    for schedule in SCHEDULES:
        try:
            executable.with_schedule(schedule).run(inputs_of(program, 4))
        except EmulatorFault as fault:
            kinds |= {finding.kind for finding in fault.findings}
    executable.close()
    assert kinds & {FaultKind.RACE, FaultKind.UNINITIALIZED}


@pytest.mark.parametrize("arch", ["sm_75", "sm_90a", "sm_120"])
def test_machine_code(arch):
    """A block asks for its first weights before it waits; after that nothing stale is in the L1 cache."""
    artifact = artifact_of(example("mnist_mlp"))
    try:
        compiler = find_cuda_compiler("nvrtc")
        image = compile_cuda(compiler, artifact.source.text, arch, "cubin", cache=BuildCache.default())
        (code,) = disassemble(image.data)
    except PlatformError as error:
        pytest.skip(str(error))
    assert code.callees == ()
    (launch,) = artifact.persistent
    waits = [index for index, name in enumerate(code.instructions) if name.startswith("ATOMG")]
    assert len(waits) == launch.barriers == 3
    for index in waits:
        before, after = code.instructions[index - 60 : index], code.instructions[index : index + 12]
        assert any(name.startswith("LDG.E.128.CONSTANT") for name in before)
        assert any(name.startswith("MEMBAR") for name in before)
        assert "CCTL.IVALL" in after
