"""Findings name the line of the user's source that an instruction was made from, through calls."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc import emulator
from bnncc.diagnostics import PlatformError
from bnncc.emulator import LineOrigin
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler

SOURCE = """\
__device__ __forceinline__ int at(const int *x, int i)
{
    return x[i];
}
__device__ __forceinline__ int first(const int *x, int n)
{
    return at(x, n & 255) + 1;
}
__device__ __forceinline__ int second(const int *x, int n)
{
    return at(x, n >> 8) * 3;
}
extern "C" __global__ void both(const int *x, int *y, int n)
{
    y[threadIdx.x] = first(x, n) + second(x, n);
}
"""
LINES = (
    LineOrigin(first_line=5, last_line=8, origin="net.bnn:4:3"),
    LineOrigin(first_line=9, last_line=12, origin="net.bnn:5:3"),
)


@pytest.mark.parametrize(("index", "origin"), [(300, "net.bnn:4:3"), (300 << 8, "net.bnn:5:3")])
def test_an_inlined_function_belongs_to_its_callers_line(
    load, cache, memory, index: int, origin: str
) -> None:
    try:
        compiler = find_cuda_compiler("nvrtc")
    except PlatformError as missing:
        pytest.skip(str(missing))
    ptx = compile_cuda(compiler, SOURCE, "sm_80", "ptx", cache=cache, has_lines=True).data.decode()
    module = load(ptx, origins={"both": "net.bnn"}, line_origins=LINES)
    x, y = memory.upload(np.zeros(4, np.int32)), memory.alloc(4 * 33)
    with pytest.raises(emulator.EmulatorFault, match="called at") as caught:
        module.launch("both", (1,), (1,), [x, y, index])
    (finding,) = caught.value.findings
    assert finding.origin == origin
    assert finding.place is not None
    assert finding.place.source is not None
    assert finding.place.source.line == 3
    short = memory.alloc(4)
    with pytest.raises(emulator.EmulatorFault) as caught:
        module.launch("both", (1,), (2,), [x, short, 0])
    assert caught.value.findings[0].origin == "net.bnn", "the kernel's own lines have the kernel's origin"
