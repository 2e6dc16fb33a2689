"""The kernels of gpu_check are compiled, and their loops are the instructions that they time."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check.device import kernel_source
from benchmarks.gpu_check.rates import RATES, runs_on
from bnncc.diagnostics import PlatformError
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.sass import KernelCode, disassemble

WITHOUT_LIBRARIES = ("clusters", "copies", "descriptors", "paper", "waits")


def machine_code(name: str, arch: str) -> dict[str, KernelCode]:
    try:
        image = compile_cuda(
            find_cuda_compiler(), kernel_source(name), arch, "cubin", cache=BuildCache.default()
        )
        return {code.kernel: code for code in disassemble(image.data)}
    except PlatformError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_loops_are_the_instruction(arch):
    code = machine_code("rates", arch)
    for rate in RATES:
        if not runs_on(rate, arch):
            assert rate.kernel not in code
            continue
        kernel = code[rate.kernel]
        extra = (
            3 if rate.kernel == "rate_carry_save" else 0
        )  # what is left over in the adders, after the loop
        assert kernel.count(rate.instruction) == rate.per_step + extra, rate.kernel
        assert kernel.count("STL") == kernel.count("LDL") == 0
        assert kernel.callees == ()


@pytest.mark.parametrize("name", WITHOUT_LIBRARIES)
def test_every_source_compiles(name):
    for code in machine_code(name, "sm_90a").values():
        assert code.count("STL") == 0
        assert code.callees == ()
