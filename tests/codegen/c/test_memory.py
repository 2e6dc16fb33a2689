"""What the generated C needs of memory: an arena of what lives at the same time, no allocation."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from bnncc.driver import load_model
from bnncc.ir.kernel import KernelProgram, Role
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.pipeline import lower_network
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.geometry import align
from bnncc.targets.c.target import CTarget
from bnncc.targets.lowering import lower_for
from bnncc.weights import random_weights

EXAMPLES = Path(__file__).parents[3] / "examples"
NETWORKS = ("cifar10_convnet_small.bnn", "mnist_mlp_small.bnn", "digits.bnn")


def program_of_example(name: str, form: CForm) -> KernelProgram:
    graph = load_model(EXAMPLES / name, {}).graph
    bound = BindWeights(weights=random_weights(graph, 0).arrays, origin="random").run(graph)
    return lower_for(lower_network(bound), CTarget(form=form)).program


@pytest.mark.parametrize("name", NETWORKS)
def test_the_arena_holds_input_and_result_of_one_layer(name):
    program = program_of_example(name, CForm.AVX512)
    held = {b.value.name: align(b.bytes_per_image) for b in program.buffers if b.role is Role.WORKSPACE}
    most = max(held.get(n.x.name, 0) + held.get(n.result.name, 0) for n in program.graph.nodes)
    assert program.workspace_bytes_per_image == most


@pytest.mark.skipif(shutil.which("nm") is None or shutil.which("cc") is None, reason="no cc or nm")
@pytest.mark.parametrize("form", [CForm.PORTABLE, CForm.AVX2, CForm.AVX512])
def test_the_network_calls_nothing_but_memory_functions(form, tmp_path):
    if form.architecture not in {None, platform.machine()}:
        pytest.skip(f"cc makes no code for {form.architecture}")
    artifact = CTarget(form=form).emit(program_of_example("digits.bnn", form))
    for item in artifact.files:
        (tmp_path / item.name).write_text(item.text, encoding="utf-8")
    command = ["cc", "-std=c11", "-O2", *artifact.flags, "-c", "model.c", "-o", "model.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    shown = subprocess.run(["nm", "-u", "model.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    called = {line.split()[-1] for line in shown.stdout.splitlines()}
    assert called <= {"memcpy", "memset", "memmove", "__popcountdi2", "_GLOBAL_OFFSET_TABLE_"}
