"""The generated C stands alone: plain C callers, old and new standards, C++, sanitizers, both compilers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnncc.ir.kernel import KernelProgram
from bnncc.ir.reference import evaluate_bit
from bnncc.ir.types import Elem
from bnncc.runtime.executable import NUMPY_DTYPES
from bnncc.targets.c.artifact import CArtifact
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.target import CTarget
from tests.networks import square
from tests.unit.targets_c.builder import Bits, merged, program_of, random_inputs
from tests.unit.targets_c.test_kernels import (
    COMPILERS,
    element_wise,
    float_layers,
    form_params,
    integer_layers,
    pooled_layers,
)

MAIN = """
#include "model.h"
#include <stdio.h>
#include <stdlib.h>

static void *memory_for(size_t bytes) /* exactly as long as the header says, so that a byte too far is seen */
{
    void *found = NULL;
    if (posix_memalign(&found, 64, bytes == 0 ? 1 : bytes) != 0)
        exit(2);
    return found;
}

static void *read_file(const char *name, size_t bytes)
{
    FILE *file = fopen(name, "rb");
    void *found = memory_for(bytes);
    if (file == NULL || fread(found, 1, bytes, file) != bytes)
        exit(3);
    fclose(file);
    return found;
}

static void write_file(const char *name, const void *from, size_t bytes)
{
    FILE *file = fopen(name, "wb");
    if (file == NULL || fwrite(from, 1, bytes, file) != bytes)
        exit(4);
    fclose(file);
}

/* The parts of a loop one after another, the last one first. */
static void backwards(void *pool, size_t parts, bnncc_part *part, void *job)
{
    (void)pool;
    while (parts-- > 0)
        part(job, parts);
}

int main(void)
{
    void *weights = read_file("weights", PREFIX(weights_size)());
    void *workspace = memory_for(PREFIX(workspace_size)(IMAGES));
    DECLARE
    if (PREFIX(abi_version)() != BNNCC_ABI_VERSION)
        return 5;
    if (PREFIX(init)("none") != BNNCC_ERROR_FORM || PREFIX(init)(NULL) != BNNCC_OK)
        return 12;
    if (PREFIX(init)(PREFIX(form)()) != BNNCC_OK)
        return 13;
    if (PREFIX(run)(NULL, PORTS IMAGES, workspace) != BNNCC_ERROR_NULL)
        return 6;
    if (PREFIX(run)((char *)weights + 4, PORTS IMAGES, workspace) != BNNCC_ERROR_ALIGNMENT)
        return 7;
    if (PREFIX(run)(weights, PORTS 0, workspace) != BNNCC_OK)
        return 8;
    if (PREFIX(run)(weights, PORTS IMAGES, workspace) != BNNCC_OK)
        return 9;
    free(workspace);
    workspace = memory_for(PREFIX(workspace_size_parallel)(IMAGES, PARTS));
    if (PREFIX(run_parallel)(weights, PORTS IMAGES, workspace, PARTS, NULL, NULL) != BNNCC_ERROR_NULL)
        return 10;
    if (PREFIX(run_parallel)(weights, PORTS IMAGES, workspace, PARTS, backwards, NULL) != BNNCC_OK)
        return 11;
    STORE
    return 0;
}
"""


def write_model(artifact: CArtifact, folder: Path) -> None:
    for item in artifact.files:
        (folder / item.name).write_text(item.text, encoding="utf-8")


def main_text(artifact: CArtifact, images: int, parts: int) -> str:
    """Return a C program that reads inputs from files and writes outputs to files, after a run in parts."""
    declare, store, names = [], [], []
    for kind, ports in (("in", artifact.inputs), ("out", artifact.outputs)):
        for index, port in enumerate(ports):
            size = int(np.prod(port.shape)) * NUMPY_DTYPES[port.elem.value].itemsize * images
            name = f"{kind}{index}"
            names.append(name)
            source = f'read_file("{name}", {size})' if kind == "in" else f"memory_for({size})"
            declare.append(f"void *{name} = {source};")
            if kind == "out":
                store.append(f'write_file("{name}", {name}, {size});')
            store.append(f"free({name});")
    store += ["free(weights);", "free(workspace);"]
    text = re.sub(r"PREFIX\((\w+)\)", rf"{artifact.prefix}_\1", MAIN)
    text = text.replace("IMAGES", str(images)).replace("PARTS", str(parts))
    text = text.replace("PORTS", "".join(f"{name}, " for name in names))
    return text.replace("DECLARE", "\n    ".join(declare)).replace("STORE", "\n    ".join(store))


def run_in_c(
    program: KernelProgram,
    form: CForm,
    inputs: dict,
    cc: list[str],
    folder: Path,
    launcher: tuple[str, ...] = (),
) -> dict:
    """Return what a C program, compiled with ``cc``, computes on ``inputs``."""
    artifact = build_in_c(program, form, inputs, cc, folder)
    return run_program(artifact, len(next(iter(inputs.values()))), folder, launcher)


def build_in_c(
    program: KernelProgram,
    form: CForm,
    inputs: dict,
    cc: list[str],
    folder: Path,
    spelled: Callable[[tuple[str, ...]], tuple[str, ...]] = tuple,
) -> CArtifact:
    """Write and compile a C program for ``inputs``."""
    artifact = CTarget(form=form).emit(program)
    images = len(next(iter(inputs.values())))
    write_model(artifact, folder)
    (folder / "main.c").write_text(main_text(artifact, images, parts=1 + images), encoding="utf-8")
    (folder / "weights").write_bytes(program.blob())
    for index, port in enumerate(artifact.inputs):
        (folder / f"in{index}").write_bytes(np.ascontiguousarray(inputs[port.name]).tobytes())
    command = [*cc, *spelled(artifact.flags), "model.c", "main.c", "-o", "program"]
    subprocess.run(command, cwd=folder, check=True)
    return artifact


def run_program(artifact: CArtifact, images: int, folder: Path, launcher: tuple[str, ...]) -> dict:
    """Return what the compiled program computes."""
    environment = {**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1"}
    subprocess.run([*launcher, "./program"], cwd=folder, check=True, env=environment)
    outputs = {}
    for index, port in enumerate(artifact.outputs):
        array = np.frombuffer((folder / f"out{index}").read_bytes(), NUMPY_DTYPES[port.elem.value])
        outputs[port.name] = array.reshape(images, *port.shape)
    return outputs


def small_network() -> Bits:
    """A first layer, a padded layer, pooling, borders, flips and scores; odd sizes."""
    net = Bits("small")
    x = net.layer(
        net.plain(Elem.U8, 3, 9, 7), 20, square(3, padding=1), pool=square(2, stride=2), has_border=True
    )
    x = net.layer(x, 70, square(3, padding=1), is_flipped=True, has_border=True)
    net.output(net.layer(x, 10, None, "scores"))
    return net


@pytest.mark.skipif("gcc" not in COMPILERS, reason="the sanitizers are gcc's")
@pytest.mark.parametrize("form", form_params())
def test_sanitizers_find_nothing(form, tmp_path):
    layers = (pooled_layers, integer_layers, float_layers)
    # Element-wise operations are the same text in every form.
    makes = (*layers, element_wise) if form is CForm.PORTABLE else layers
    graphs = {make.__name__: make() for make in makes}
    graphs["small"] = small_network().graph()
    graph = merged("sanitized", graphs)
    inputs = random_inputs(graph, 5)
    cc = ["gcc", "-std=c11", "-D_POSIX_C_SOURCE=200112L", "-O1", "-g0", "-Wall", "-Wextra", "-Werror"]
    cc += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    outputs = run_in_c(program_of(graph, form), form, inputs, cc, tmp_path)
    for name, expected in evaluate_bit(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected, err_msg=name)


@pytest.mark.parametrize("form", form_params())
@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_every_level_of_optimization_gives_the_same(form, cc, level, tmp_path):
    graph = small_network().graph()
    inputs = random_inputs(graph, 9)
    command = [cc, "-std=c11", "-D_POSIX_C_SOURCE=200112L", level, "-Wall", "-Wextra", "-Werror", "-pedantic"]
    outputs = run_in_c(program_of(graph, form), form, inputs, command, tmp_path)
    for name, expected in evaluate_bit(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected, err_msg=name)


CALLERS = [
    *(("gcc", f"-std={standard}", "c") for standard in ("c99", "c11", "c17")),
    *(("g++", f"-std={standard}", "c++") for standard in ("c++11", "c++20")),
    ("clang-19", "-std=c99", "c"),
]


@pytest.mark.parametrize(("cc", "standard", "language"), CALLERS)
def test_header_is_c99_and_cpp(cc, standard, language, tmp_path):
    if shutil.which(cc) is None:
        pytest.skip(f"no {cc}")
    artifact = CTarget(form=CForm.PORTABLE).emit(program_of(small_network().graph(), CForm.PORTABLE))
    write_model(artifact, tmp_path)
    (tmp_path / "caller").write_text('#include "model.h"\n#include "model.h"\n', encoding="utf-8")
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    subprocess.run([cc, standard, *flags, "-x", language, "caller"], cwd=tmp_path, check=True)


def test_two_networks_in_one_program(tmp_path):
    for name in ("left", "right"):
        net = small_network()
        net.name = name
        folder = tmp_path / name
        folder.mkdir()
        write_model(CTarget(form=CForm.PORTABLE).emit(program_of(net.graph(), CForm.PORTABLE)), folder)
    main = '#include "left/model.h"\n#include "right/model.h"\n'
    main += "int main(void) { return (int)(bnncc_left_weights_size() - bnncc_right_weights_size()); }\n"
    (tmp_path / "main.c").write_text(main, encoding="utf-8")
    sources = ["main.c", "left/model.c", "right/model.c"]
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", *sources, "-o", "both"], cwd=tmp_path, check=True)
    subprocess.run(["./both"], cwd=tmp_path, check=True)
