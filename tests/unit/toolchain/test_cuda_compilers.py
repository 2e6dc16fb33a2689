"""nvcc and NVRTC: found, used through one protocol and the cache; what is missing is said."""

from __future__ import annotations

import pytest

from bnncc.diagnostics import PlatformError
from bnncc.toolchain import find_cuda
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import (
    ARCHITECTURES,
    CudaCompilerError,
    DeviceImage,
    compile_cuda,
    known_arch,
    parse_reports,
)
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.nvcc import Nvcc, find_nvcc
from bnncc.toolchain.nvrtc import find_nvrtc

FINDERS = {"nvcc": find_nvcc, "nvrtc": find_nvrtc}
SOURCE = """
extern "C" __global__ void __launch_bounds__(64) twice(const int *x, int *y) {
    __shared__ int kept[64];
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = 2 * kept[63 - threadIdx.x];
}
"""
WARNS = 'extern "C" __global__ void k(int *y) { int unused = 3; y[0] = 1; }'
ASSEMBLER_WARNS = 'extern "C" __global__ void __launch_bounds__(32, 31) k(int *y) { y[0] = 1; }'
BROKEN = 'extern "C" __global__ void k(int *y) { y[0] = nowhere; }'


@pytest.fixture(params=FINDERS)
def compiler(request):
    found = FINDERS[request.param]()
    if found is None:
        pytest.skip(f"no {request.param} on this machine")
    return found


@pytest.mark.parametrize("arch", ["sm_75", "sm_90a", "sm_120"])
def test_ptx_and_cubin(compiler, arch):
    ptx = compiler.compile(SOURCE, arch, "ptx", has_lines=True)
    assert f".target {arch}".encode() in ptx.data
    assert b".loc" in ptx.data
    assert not ptx.data.endswith(b"\0")
    cubin = compiler.compile(SOURCE, arch, "cubin")
    assert cubin.data.startswith(b"\x7fELF")
    (report,) = cubin.reports
    assert (report.kernel, report.arch, report.shared_bytes) == ("twice", arch, 256)
    assert report.registers > 0
    assert report.stack_bytes == report.spill_store_bytes == report.spill_load_bytes == 0


@pytest.mark.parametrize(("source", "word"), [(WARNS, "unused"), (BROKEN, "nowhere")])
@pytest.mark.parametrize("kind", ["ptx", "cubin"])
def test_warnings_are_errors(compiler, source, word, kind):
    with pytest.raises(CudaCompilerError, match=word):
        compiler.compile(source, "sm_80", kind)


def test_warnings_of_the_assembler_are_errors(compiler):
    with pytest.raises(CudaCompilerError, match="minnctapersm"):
        compiler.compile(ASSEMBLER_WARNS, "sm_75", "cubin")


def test_an_architecture_the_compiler_lacks(compiler):
    with pytest.raises(PlatformError, match="cannot compile for sm_30"):
        compiler.compile(SOURCE, "sm_30", "cubin")


def test_the_cache_answers_the_second_time(compiler, tmp_path):
    class Counting:
        name, identity, calls = "counting", compiler.identity, 0

        def compile(self, source, arch, kind, *, has_lines=False):
            self.calls += 1
            return compiler.compile(source, arch, kind, has_lines=has_lines)

    counting, cache = Counting(), BuildCache(tmp_path)
    images = [compile_cuda(counting, SOURCE, "90a", "cubin", cache=cache) for _ in range(2)]
    assert images[0] == images[1]
    assert isinstance(images[0], DeviceImage)
    assert images[0].reports[0].kernel == "twice"
    assert counting.calls == 1
    compile_cuda(counting, SOURCE, "sm_80", "cubin", cache=cache)
    assert counting.calls == 2


@pytest.mark.parametrize("name", ["sm_90a", "90a", "compute_90a", "SM_90A"])
def test_spellings_of_an_architecture(name):
    assert known_arch(name) == "sm_90a"


@pytest.mark.parametrize("name", ["sm_90", "91", "gfx942", ""])
def test_unknown_architectures_are_refused_with_the_known_ones(name):
    with pytest.raises(PlatformError, match=r"sm_75, sm_80.*sm_120"):
        known_arch(name)
    assert "sm_100a" in ARCHITECTURES


def test_reports_of_several_kernels():
    log = """
ptxas info    : 0 bytes gmem, 42 bytes cmem[3]
ptxas info    : Compiling entry function 'a' for 'sm_75'
ptxas info    : Function properties for a
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 46 registers, used 1 barriers, 8192 bytes smem, 404 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_75'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers
"""
    a, b = parse_reports(log)
    assert (a.registers, a.shared_bytes, a.stack_bytes) == (46, 8192, 8)
    assert (a.spill_store_bytes, a.spill_load_bytes) == (4, 12)
    assert (b.kernel, b.registers, b.shared_bytes, b.stack_bytes) == ("b", 12, 0, 0)
    assert parse_reports("nothing") == ()


def test_the_preferred_one_is_taken_else_the_other(monkeypatch):
    monkeypatch.setattr(find_cuda, "_FINDERS", {"nvcc": lambda _: "a", "nvrtc": lambda _: "b"})
    assert (find_cuda_compiler(), find_cuda_compiler("nvrtc")) == ("a", "b")
    monkeypatch.setattr(find_cuda, "_FINDERS", {"nvcc": lambda _: None, "nvrtc": lambda _: "b"})
    assert find_cuda_compiler("nvcc") == "b"


def test_without_any_the_message_says_what_and_how(monkeypatch):
    monkeypatch.setattr(find_cuda, "_FINDERS", {"nvcc": lambda _: None, "nvrtc": lambda _: None})
    with pytest.raises(PlatformError, match=r"CUDA_HOME.*pip install 'bnncc\[nvrtc\]'"):
        find_cuda_compiler()


def fake_nvcc(tmp_path, script):
    program = tmp_path / "bin" / "nvcc"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_cuda_home_comes_first(tmp_path):
    program = fake_nvcc(tmp_path, "echo 'Cuda compilation tools, release 12.9, V12.9.1'")
    found = find_nvcc({"CUDA_HOME": str(tmp_path), "PATH": "/usr/bin"})
    assert (found.program, found.version) == (program, "12.9")


def test_an_nvcc_without_a_host_compiler(tmp_path):
    program = fake_nvcc(tmp_path, "echo 'nvcc fatal: Failed to preprocess host compiler properties.'; exit 1")
    with pytest.raises(PlatformError, match="host C"):
        Nvcc(program=program, version="12.9").compile(SOURCE, "sm_80", "ptx")


def test_something_that_is_no_nvcc(tmp_path):
    fake_nvcc(tmp_path, "echo hello; exit 3")
    found = find_nvcc({"CUDA_HOME": str(tmp_path), "PATH": ""})
    assert found is None or found.program.parent.parent != tmp_path
