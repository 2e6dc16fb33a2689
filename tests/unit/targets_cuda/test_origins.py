"""Every line of a layer's code is known to come from the layer's place in the user's source."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.gpu_check.networks import example
from bnncc.emulator import EmulatorFault, FaultKind, LineOrigin
from bnncc.runtime.emulated import EmulatedExecutable
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.origins import line_origins
from bnncc.targets.cuda.target import CudaTarget
from tests.cuda_programs import inputs_of

TEXT = """\
// shared by all

// one: from a b.bnn:4:3
//   how it works
struct one_layer {
    int x;
};
extern "C" __global__ void k1() { }
// two: from <made up>
extern "C" __global__ void all()
{
    // Phase 1
    // one, from a b.bnn:4:3:  -> dense(3), from the book
    first();

    // stage.two, from a b.bnn:5:7
    second();
}
int rest;
"""


def test_layers_begin_and_end():
    assert line_origins(TEXT) == (
        LineOrigin(first_line=3, last_line=6, origin="a b.bnn:4:3 (one)"),
        LineOrigin(first_line=13, last_line=15, origin="a b.bnn:4:3 (one)"),
        LineOrigin(first_line=16, last_line=17, origin="a b.bnn:5:7 (stage.two)"),
    )


def test_every_layer_of_an_example_is_covered():
    artifact = CudaTarget().emit(example("cifar10_convnet"))
    lines = artifact.source.text.splitlines()
    found = line_origins(artifact.source.text)
    bodies = {number for number, line in enumerate(lines, 1) if line.startswith("    static __device__")}
    covered = {number for item in found for number in range(item.first_line, item.last_line + 1)}
    layers = [number for number, line in enumerate(lines, 1) if line.endswith("_layer {")]
    assert layers
    assert set(layers) <= covered
    assert {number for number in bodies if number > layers[0]} <= covered
    assert {item.origin for item in found} == {
        f"{launch.origin} ({launch.node})" for launch in artifact.all_launches
    }


@pytest.mark.parametrize("phase", [2, 4])
def test_a_fault_in_one_layer_of_a_kernel_of_many_names_that_layer(phase):
    """One barrier of the grid is missing: what reads too early is said to come from its own layer."""
    program = example("mnist_mlp")
    artifact = CudaTarget(fuse=Fuse.PERSISTENT).emit(program)
    text = artifact.source.text
    start = text.index(f"    // Phase {phase}\n")
    broken = text[:start] + text[start:].replace("    bnncc_grid_barrier(barrier);\n", "", 1)
    files = (replace(artifact.source, text=broken),)
    executable = EmulatedExecutable.load(replace(artifact, files=files), program.blob())
    try:
        with pytest.raises(EmulatorFault) as caught:
            executable.run(inputs_of(program, 1, seed=1))
    finally:
        executable.close()
    (whole,) = artifact.persistent[:1]
    places = [f"{item.origin} ({item.node})" for item in whole.phases]
    assert {finding.kind for finding in caught.value.findings} <= {FaultKind.RACE, FaultKind.UNINITIALIZED}
    assert places[phase - 1] in {finding.origin for finding in caught.value.findings}
    assert {finding.origin for finding in caught.value.findings} != {whole.origin}
