"""Loading and calling compiled networks: what is checked, what is shared, what is copied."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from bnncc.diagnostics import DataError, PlatformError
from bnncc.ir.reference import evaluate_bit
from bnncc.ir.types import Elem
from bnncc.runtime.native import NativeExecutable, build_library
from bnncc.targets.c.artifact import ABI_VERSION, MAX_PARTS
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.target import CTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import find_c_compiler
from tests.networks import square
from tests.unit.targets_c.builder import Bits, program_of, random_inputs


def two_ports():
    net = Bits("ports")
    x = net.layer(net.plain(Elem.U8, 3, 6, 6), 20, square(3, padding=1))
    y = net.layer(net.signs(7), 9, None)
    net.output(net.layer(x, 4, None, "scores"))
    net.output(y)
    return net.graph()


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> BuildCache:
    return BuildCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def executable(cache) -> NativeExecutable:
    program = program_of(two_ports(), CForm.PORTABLE)
    artifact = CTarget(form=CForm.PORTABLE).emit(program)
    return NativeExecutable.load(artifact, program.blob(), cache=cache)


def test_ports_of_every_kind(executable):
    inputs = random_inputs(two_ports(), 3)
    outputs = executable.run(inputs)
    for name, expected in evaluate_bit(two_ports(), inputs).items():
        np.testing.assert_array_equal(outputs[name], expected)
        assert outputs[name].dtype == expected.dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {"in0": x["in0"]}, "takes the inputs in0, in1; given: in0"),
        (lambda x: x | {"more": x["in0"]}, "given: in0, in1, more"),
        (lambda x: x | {"in0": x["in0"].astype(np.float32)}, "'in0' is float32, the network takes uint8"),
        (lambda x: x | {"in0": x["in0"][:, :2]}, r"shape \[3, 2, 6, 6\], the network takes \[N, 3, 6, 6\]"),
        (lambda x: x | {"in0": x["in0"][0]}, r"shape \[3, 6, 6\]"),
        (lambda x: x | {"in0": x["in0"][:, :, ::-1]}, r"not contiguous.*np.ascontiguousarray\(in0\)"),
        (lambda x: x | {"in1": x["in1"][:2]}, "differ in the number of images: 2, 3"),
    ],
)
def test_wrong_inputs_are_named(executable, change, message):
    with pytest.raises(DataError, match=message):
        executable.run(change(random_inputs(two_ports(), 3)))


def test_threads_do_not_disturb_each_other(executable):
    batches = [random_inputs(two_ports(), images, seed=images) for images in range(1, 9)]
    expected = [evaluate_bit(two_ports(), inputs) for inputs in batches]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(50):
            outputs = executable.run(batches[index])
            if any(not np.array_equal(outputs[name], array) for name, array in expected[index].items()):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    executable.close()


def test_wrong_weights_and_libraries_are_refused(cache, tmp_path):
    program = program_of(two_ports(), CForm.PORTABLE)
    artifact = CTarget(form=CForm.PORTABLE).emit(program)
    with pytest.raises(DataError, match=r"the weights have 3 bytes, the network needs"):
        NativeExecutable.load(artifact, b"abc", cache=cache)
    library = build_library(artifact, cache=cache)
    with pytest.raises(DataError, match="not a compiled form of network 'ports'"):
        NativeExecutable.load(replace(artifact, prefix="bnncc_other"), program.blob(), library=library)
    (tmp_path / "model.so").write_text("not a library")
    with pytest.raises(PlatformError, match="cannot load the compiled network"):
        NativeExecutable.load(artifact, program.blob(), library=tmp_path / "model.so")


def test_a_library_of_another_version_is_refused(cache):
    program = program_of(two_ports(), CForm.PORTABLE)
    artifact = CTarget(form=CForm.PORTABLE).emit(program)
    now, other = f"#define BNNCC_ABI_VERSION {ABI_VERSION}", "#define BNNCC_ABI_VERSION 1"
    assert now in artifact.file("model.h").text
    assert f"#define BNNCC_MAX_PARTS {MAX_PARTS} " in artifact.file("model.h").text
    files = tuple(replace(item, text=item.text.replace(now, other)) for item in artifact.files)
    library = build_library(replace(artifact, files=files), cache=cache)
    with pytest.raises(DataError, match=f"has ABI version 1; this bnncc calls version {ABI_VERSION}"):
        NativeExecutable.load(artifact, program.blob(), library=library)


def test_inputs_and_outputs_are_used_where_they_lie(executable):
    """No copies: C gets the addresses of the caller's arrays, and of those that it returns."""
    seen = []

    class Spy:
        def __getattr__(self, name):
            function = getattr(executable._library, name)
            return lambda *arguments: seen.append((name, arguments)) or function(*arguments)

    inputs = random_inputs(two_ports(), 3)
    outputs = replace(executable, _library=Spy()).run(inputs)
    ((name, arguments),) = seen
    assert name == "bnncc_ports_run_parallel"
    given = [inputs["in0"], inputs["in1"], outputs["out0"], outputs["out1"]]
    assert list(arguments[1:5]) == [array.ctypes.data for array in given]
    assert arguments[0] == executable._weights.ctypes.data


def test_a_library_built_before_needs_no_compiler(cache, monkeypatch):
    program = program_of(two_ports(), CForm.PORTABLE)
    artifact = CTarget(form=CForm.PORTABLE).emit(program)
    library = build_library(artifact, find_c_compiler(), cache)
    monkeypatch.setenv("CC", "/nonexistent")
    loaded = NativeExecutable.load(artifact, program.blob(), library=library)
    assert set(loaded.run(random_inputs(two_ports(), 1))) == {"out0", "out1"}


def test_a_network_without_weights_or_workspace_runs(cache):
    net = Bits("same")
    x = net.plain(Elem.U8, 4)
    net.output(x)
    net.output(x)
    program = program_of(net.graph(), CForm.PORTABLE)
    loaded = NativeExecutable.load(CTarget(form=CForm.PORTABLE).emit(program), program.blob(), cache=cache)
    array = np.arange(8, dtype=np.uint8).reshape(2, 4)
    for output in loaded.run({"in0": array}).values():
        np.testing.assert_array_equal(output, array)
