"""Code for other machines: AArch64 under an emulator, and plain C99 without a C library."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from bnncc.ir.reference import evaluate_bit
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.target import CTarget
from tests.codegen.c.test_builds import build_in_c, run_in_c, run_program, small_network, write_model
from tests.unit.targets_c.builder import merged, program_of, random_inputs
from tests.unit.targets_c.test_kernels import (
    COMPILERS,
    binary_layers,
    element_wise,
    extreme_inputs,
    extreme_layers,
    float_layers,
    integer_layers,
    long_layers,
    pooled_layers,
)

AARCH64 = "aarch64-linux-gnu-gcc"
MISSING = [name for name in (AARCH64, "qemu-aarch64") if shutil.which(name) is None]
TRAPS = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
LAYERS = (binary_layers, pooled_layers, integer_layers, element_wise, float_layers)


@pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}")
@pytest.mark.parametrize("form", [CForm.NEON, CForm.PORTABLE])
def test_aarch64_equals_the_reference(form, tmp_path):
    graphs = {make.__name__: make() for make in LAYERS} if form is CForm.NEON else {}
    graphs |= {"extreme": extreme_layers(), "long": long_layers(), "small": small_network().graph()}
    graph = merged("cross", graphs)
    inputs = random_inputs(graph, 5)
    inputs |= {f"extreme.{name}": array for name, array in extreme_inputs(extreme_layers(), 0).items()}
    inputs |= {name: np.ones_like(array) for name, array in inputs.items() if name.startswith("long.")}
    cc = [AARCH64, "-std=c11", "-D_POSIX_C_SOURCE=200112L", "-O1", "-static"]
    cc += ["-Wall", "-Wextra", "-Werror", "-pedantic", *TRAPS]
    outputs = run_in_c(program_of(graph, form), form, inputs, cc, tmp_path, launcher=("qemu-aarch64",))
    for name, expected in evaluate_bit(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected, err_msg=name)


@pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}")
def test_sve_equals_the_reference_with_vectors_of_every_length(tmp_path):
    graphs = {make.__name__: make() for make in (binary_layers, pooled_layers, integer_layers)}
    graphs |= {"long": long_layers(), "small": small_network().graph()}
    graph = merged("sve", graphs)
    inputs = random_inputs(graph, 3)
    expected = evaluate_bit(graph, inputs)
    cc = [AARCH64, "-std=c11", "-D_POSIX_C_SOURCE=200112L", "-O1", "-static"]
    cc += ["-Wall", "-Wextra", "-Werror", "-pedantic", *TRAPS]
    artifact = build_in_c(program_of(graph, CForm.SVE), CForm.SVE, inputs, cc, tmp_path)
    for bits in (128, 256, 384, 512, 2048):
        cpu = f"max,sve{bits}=on,sve-default-vector-length={bits // 8}"
        outputs = run_program(artifact, 3, tmp_path, ("qemu-aarch64", "-cpu", cpu))
        for name, array in expected.items():
            np.testing.assert_array_equal(outputs[name], array, err_msg=f"{name}, {bits} bits")
    refused = subprocess.run(["qemu-aarch64", "-cpu", "cortex-a72", "./program"], cwd=tmp_path, check=False)
    assert refused.returncode == 12, "init finds out that there is no SVE"


@pytest.mark.parametrize("cc", COMPILERS)
def test_freestanding_c99_needs_two_functions(cc, tmp_path):
    graphs = {make.__name__: make() for make in (integer_layers, element_wise, float_layers)}
    graphs["small"] = small_network().graph()
    program = program_of(merged("free", graphs), CForm.PORTABLE)
    artifact = CTarget(form=CForm.PORTABLE).emit(program)
    write_model(artifact, tmp_path)
    strict = ["-std=c99", "-ffreestanding", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wvla"]
    subprocess.run([cc, *strict, "-O1", *artifact.flags, "-c", "model.c"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["nm", "--undefined-only", "model.o"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    needed = {line.split()[-1] for line in listed.stdout.splitlines() if line.strip()}
    assert needed - {"_GLOBAL_OFFSET_TABLE_"} <= {"memcpy", "memset"}
    sections = subprocess.run(["size", "model.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    writable = sections.stdout.splitlines()[1].split()[1:3]
    assert writable == ["0", "0"], "the code has no variables of its own"
