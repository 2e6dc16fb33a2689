"""The kernels that time instructions do what they time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gpu_check.rates import CHAINS, RATES, rate_artifact
from bnncc.diagnostics import PlatformError
from bnncc.runtime.emulated import EmulatedExecutable
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.sass import disassemble

ITERATIONS = 5
BITS = 0x5A5A5A5A
POPC, BMMA = RATES


def popc_total():
    total = 0
    for i in range(ITERATIONS):
        total += int(BITS ^ (total + i)).bit_count()
    return CHAINS * total


@pytest.mark.parametrize(
    ("rate", "arch", "expected"),
    [
        (POPC, "sm_80", popc_total()),
        (BMMA, "sm_75", 0),  # nothing differs from itself
        (BMMA, "sm_80", 0),
        (BMMA, "sm_90a", CHAINS * ITERATIONS * 2 * 128),  # half of 256 bits are ones, of two rows
    ],
)
def test_results(rate, arch, expected):
    executable = EmulatedExecutable.load(rate_artifact(rate, 2, ITERATIONS), b"", arch=arch)
    found = executable.run({"x": np.array([[BITS]], np.int32)})["y"]
    executable.close()
    assert found.tolist() == [[expected]]


@pytest.mark.parametrize(
    ("rate", "arch", "name", "count"),
    [
        (POPC, "sm_80", "POPC", CHAINS),
        (BMMA, "sm_75", "BMMA", 4 * CHAINS),
        (BMMA, "sm_86", "BMMA", CHAINS),
        (BMMA, "sm_90a", "BMMA", CHAINS),
    ],
)
def test_the_loop_is_the_instruction(rate, arch, name, count):
    text = rate_artifact(rate, 2, 4096).source.text
    try:
        cubin = compile_cuda(find_cuda_compiler("nvrtc"), text, arch, "cubin", cache=BuildCache.default())
        (code,) = disassemble(cubin.data)
    except PlatformError as error:
        pytest.skip(str(error))
    assert code.count(name) == count
    assert code.callees == ()
