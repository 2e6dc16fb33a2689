"""The machine code of the examples holds the instructions that the kernels were written for."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check.networks import example
from bnncc.diagnostics import PlatformError
from bnncc.ir.kernel import IntegerLayer, XnorLayer
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.sass import disassemble


def machine_code(artifact, arch):
    try:
        compiler = find_cuda_compiler("nvrtc")
        cubin = compile_cuda(compiler, artifact.source.text, arch, "cubin", cache=BuildCache.default())
        return {code.kernel: code for code in disassemble(cubin.data)}
    except PlatformError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("arch", ["sm_75", "sm_86", "sm_90a", "sm_100a", "sm_120"])
@pytest.mark.parametrize("name", ["cifar10_convnet", "mnist_mlp"])
def test_examples(name, arch):
    program = example(name)
    artifact = CudaTarget().emit(program)
    codes = machine_code(artifact, arch)
    assert DEVICES[arch].b1_form is not None or not any(code.count("BMMA") for code in codes.values())
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


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90a"])
@pytest.mark.parametrize("name", ["cifar10_convnet", "mnist_mlp", "mnist_convnet", "digits"])
def test_tensor_cores(name, arch):
    artifact = CudaTarget().emit(example(name))
    codes = machine_code(artifact, arch)
    shape = "BMMA.88128" if arch == "sm_75" else "BMMA.168256"
    wanted = f"{shape}.{DEVICES[arch].b1_form.name}.POPC"
    assert artifact.variants
    for launch in (variant.launch for variant in artifact.variants):
        code = codes[launch.kernel]
        names = code.instructions
        assert code.callees == (), launch.kernel
        assert code.count("LDL") == code.count("STL") == 0, launch.kernel
        assert {item for item in names if "MMA" in item} == {wanted}, launch.kernel
        assert code.count("POPC") == 0, "ones of rows are counted by the tensor cores"
        assert "LDSM.16.M88.4" in names, launch.kernel
        has_copies = any(item.startswith("LDGSTS.E.BYPASS.128") for item in names)
        assert has_copies == (arch != "sm_75"), launch.kernel


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
