"""Several forms in one library: each can be chosen, all give the same bits, the best one is the default."""

from __future__ import annotations

import ctypes
import platform
import subprocess

import numpy as np
import pytest

from bnncc.diagnostics import PlatformError
from bnncc.ir.reference import evaluate_bit
from bnncc.ir.types import Elem
from bnncc.runtime.builds import library_entry
from bnncc.runtime.native import NativeExecutable, build_library, machine_named, machines_named
from bnncc.targets.c.artifact import CArtifact
from bnncc.targets.c.dispatch import Part, emit_dispatch
from bnncc.targets.c.forms import DISPATCH, CForm, machines_called
from bnncc.toolchain.build_cache import BuildCache
from tests.networks import square
from tests.unit.targets_c.builder import Bits, program_of, random_inputs
from tests.unit.targets_c.test_kernels import form_params

MACHINES = machines_called(DISPATCH.get(platform.machine(), "generic"))


def network():
    net = Bits("several")
    x = net.layer(net.plain(Elem.U8, 3, 9, 7), 70, square(3, padding=1), pool=square(2, stride=2))
    x = net.layer(x, 33, square(3, padding=1), is_flipped=True, has_border=True)
    net.output(net.layer(x, 10, None, "scores"))
    net.output(net.layer(net.plain(Elem.U8, 50), 20, None))
    return net.graph()


def emitted(machines=MACHINES) -> tuple[CArtifact, bytes]:
    parts = tuple(Part(machine=item, program=program_of(network(), item.form)) for item in machines)
    return emit_dispatch(parts)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    artifact, _ = emitted()
    return build_library(artifact, cache=BuildCache(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("form", form_params())
def test_every_form_equals_the_reference(form, library):
    artifact, blob = emitted()
    loaded = NativeExecutable.load(artifact, blob, library=library, form=form, threads=1)
    assert loaded.form is form
    for images in (1, 70):
        inputs = random_inputs(network(), images)
        outputs = loaded.run(inputs)
        for name, expected in evaluate_bit(network(), inputs).items():
            np.testing.assert_array_equal(outputs[name], expected, err_msg=name)


def test_the_best_form_is_the_default(library):
    artifact, blob = emitted()
    loaded = NativeExecutable.load(artifact, blob, library=library)
    assert loaded.form is machine_named("native").form
    with pytest.raises(PlatformError, match="no kernels of that form"):
        NativeExecutable.load(artifact, blob, library=library, form=CForm.NEON)
    assert loaded.form is machine_named("native").form, "what fails changes nothing"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its forms are those of x86-64")
def test_what_processors_can_do_is_what_the_compiler_knows(tmp_path):
    """A program that asks says what ``gcc`` says: also with features that the system does not keep."""
    artifact, _ = emitted()
    text = artifact.file("model_avx512.c").text
    start = text.index("/* ---- what this processor can do")
    (tmp_path / "ask.c").write_text(
        "#include <stdio.h>\n#define BNNCC_FUNCTION static\n"
        + text[start : text.index("/* ----", start + 8)]
        + 'int main(void) { printf("%u %d %d", bnncc_cpu() & bnncc_cpu(), '
        '__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"), '
        '__builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vnni")); return 0; }\n'
    )
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "ask.c", "-o", "ask"], cwd=tmp_path, check=True)
    shown = subprocess.run(["./ask"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    flags, avx2, avx512 = map(int, shown.split())
    assert flags == 8 + avx2 + 2 * avx512


def test_one_file_of_weights_serves_all_forms():
    artifact, blob = emitted()
    assert len(blob) == artifact.weights_bytes
    for machine in MACHINES:
        own = program_of(network(), machine.form).blob()
        assert blob.count(own) == 1
        assert blob.index(own) % 64 == 0
    arm, arm_blob = emitted(machines_called("aarch64,aarch64-sve"))
    assert len(arm_blob) == len(program_of(network(), CForm.NEON).blob()), (
        "NEON and SVE read the same weights"
    )
    assert arm.forms == (CForm.NEON, CForm.SVE)


def test_the_workspace_is_enough_for_every_form(library):
    artifact, _ = emitted()
    loaded = ctypes.CDLL(str(library))
    for images, parts in ((0, 1), (1, 1), (3, 2), (10**6, 7), (2**64 - 1, 2**64 - 1)):
        sizes = []
        for name in ("", *(f"_{machine.form.value}" for machine in MACHINES)):
            size = getattr(loaded, f"{artifact.prefix}{name}_workspace_size_parallel")
            size.argtypes, size.restype = [ctypes.c_size_t, ctypes.c_size_t], ctypes.c_size_t
            sizes.append(size(images, parts))
        assert sizes[0] == max(sizes[1:]) == artifact.parallel_workspace_bytes(images, parts)


def test_names_on_the_command_line():
    assert machines_named("dispatch") == MACHINES
    assert [m.form for m in machines_named("x86-64-v3, generic")] == [CForm.AVX2, CForm.PORTABLE]
    assert "x86-64-v3+generic.so" in library_entry(machines_named("x86-64-v3,generic"))
    with pytest.raises(PlatformError, match="knows no machine 'z80'"):
        machines_named("generic,z80")
    with pytest.raises(PlatformError, match="names a form of the kernels twice"):
        machines_named("generic,x86-64-v2")
    with pytest.raises(PlatformError, match="different architectures"):
        machines_named("x86-64-v3,aarch64")
    assert machines_called("generic,z80") == () == machines_called("")
