"""``python -m ziglang cc``: a compiler for machines without one, and for other machines."""

from __future__ import annotations

import platform
import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from typer.testing import CliRunner

from bnncc.cli.main import make_app
from bnncc.codegen.package import Package
from bnncc.diagnostics import PlatformError
from bnncc.ir.reference import evaluate_bit
from bnncc.runtime.native import NativeExecutable, host_machine, machines_named
from bnncc.targets.c.dispatch import Part, emit_dispatch
from bnncc.targets.c.forms import CForm
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import find_c_compiler
from tests.codegen.c.test_builds import build_in_c, run_program, small_network
from tests.unit.targets_c.builder import program_of, random_inputs

pytestmark = pytest.mark.skipif(find_spec("ziglang") is None, reason="no zig: pip install ziglang")
NOTHING = {"PATH": "/nonexistent"}


def test_zig_is_found_where_nothing_else_is():
    found = find_c_compiler(NOTHING)
    assert found.kind == "zig"
    assert found.command == (sys.executable, "-m", "ziglang", "cc")
    assert find_c_compiler(command="zig").kind == "zig"
    assert find_c_compiler(command="cc").kind != "zig"
    with pytest.raises(PlatformError, match="'/no/such/zig' does not answer"):
        find_c_compiler(command="/no/such/zig")


def test_every_form_of_a_library_built_with_zig(tmp_path):
    zig = find_c_compiler(command="zig")
    machines = machines_named("dispatch", zig)
    graph = small_network().graph()
    parts = tuple(Part(machine=item, program=program_of(graph, item.form)) for item in machines)
    artifact, blob = emit_dispatch(parts)
    inputs = random_inputs(graph, 5)
    best = host_machine(zig).form
    usable = [machine.form for machine in machines if machine.form is CForm.PORTABLE or machine.form is best]
    for form in usable:
        loaded = NativeExecutable.load(artifact, blob, compiler=zig, cache=BuildCache(tmp_path), form=form)
        for name, expected in evaluate_bit(graph, inputs).items():
            np.testing.assert_array_equal(loaded.run(inputs)[name], expected, err_msg=name)


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this machine is the other one")
def test_a_package_for_another_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.bnn").write_text(
        "network net { input x: u8[40]\n x -> dense(20) -> batch_norm -> sign -> dense(3) -> output y }\n"
    )
    command = ["compile", "net.bnn", "--target", "c", "--random-weights", "--cc", "zig"]
    result = CliRunner().invoke(make_app(), [*command, "--march", "aarch64"])
    assert result.exit_code == 0, result.stderr
    package = Package.load("net.bnnpkg")
    (library,) = package.names("bin/")
    elf = package.entry(library)
    assert elf[:4] == b"\x7fELF"
    assert int.from_bytes(elf[18:20], "little") == 183, "of AArch64"
    result = CliRunner().invoke(make_app(), [*command[:-1], "/no/such/cc"])
    assert result.exit_code == PlatformError.exit_code
    assert "'/no/such/cc' does not answer --version" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="no qemu-aarch64: apt install qemu-user")
@pytest.mark.parametrize("form", [CForm.NEON, CForm.SVE])
def test_code_for_aarch64_runs(form, tmp_path):
    zig = find_c_compiler(command="zig")
    graph = small_network().graph()
    inputs = random_inputs(graph, 5)
    cc = [
        *zig.command,
        "-target",
        "aarch64-linux-musl",
        "-static",
        "-std=c11",
        "-O1",
        "-D_POSIX_C_SOURCE=200112L",
    ]
    cc += ["-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument"]
    launcher = ("qemu-aarch64", "-cpu", "max,sve256=on")
    artifact = build_in_c(program_of(graph, form), form, inputs, cc, tmp_path, zig.spelled)
    outputs = run_program(artifact, 5, tmp_path, launcher)
    for name, expected in evaluate_bit(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], expected, err_msg=name)
