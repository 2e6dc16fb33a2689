"""The machine code of the examples holds the instructions that the kernels were written for."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check.networks import example
from bnncc.diagnostics import PlatformError
from bnncc.ir.kernel import IntegerLayer, XnorLayer
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.sass import disassemble


@pytest.mark.parametrize("arch", ["sm_75", "sm_86", "sm_90a", "sm_100a", "sm_120"])
@pytest.mark.parametrize("name", ["cifar10_convnet", "mnist_mlp"])
def test_examples(name, arch):
    program = example(name)
    artifact = CudaTarget().emit(program)
    try:
        compiler = find_cuda_compiler("nvrtc")
        cubin = compile_cuda(compiler, artifact.source.text, arch, "cubin", cache=BuildCache.default())
        codes = {code.kernel: code for code in disassemble(cubin.data)}
    except PlatformError as error:
        pytest.skip(str(error))
    for launch, node in zip(artifact.launches, program.graph.nodes, strict=True):
        code = codes[launch.kernel]
        assert code.count("LDL") == code.count("STL") == 0, launch.kernel
        assert code.callees == (), launch.kernel
        names = code.instructions
        if isinstance(node, XnorLayer):
            assert code.count("POPC") >= 4
            assert code.count("POPC") % 4 == 0, "whole vectors of 128 bits"
            assert any(item.startswith("LDG") and ".128" in item for item in names), launch.kernel
        if isinstance(node, IntegerLayer):
            assert any(item.startswith("IDP.4A.U8.S8") for item in names), launch.kernel
            assert any(item.startswith("LDS") and ".128" in item for item in names), launch.kernel


EMULATED = """
extern "C" __global__ void divide(const double *x, double *y) { y[threadIdx.x] = 1.0 / x[threadIdx.x]; }
"""


def test_a_call_is_seen():
    try:
        cubin = find_cuda_compiler("nvrtc").compile(EMULATED, "sm_80", "cubin")
        (code,) = disassemble(cubin.data)
    except PlatformError as error:
        pytest.skip(str(error))
    assert code.callees


def test_without_nvdisasm(monkeypatch):
    monkeypatch.setattr("bnncc.toolchain.sass.toolkit_roots", lambda _: ())
    with pytest.raises(PlatformError, match="pip install nvidia-cuda-nvdisasm"):
        disassemble(b"", {"PATH": ""})
