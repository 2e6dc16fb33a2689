"""What scripts of the driver's tests need; imported in processes that have the fake driver."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from cuda.bindings import driver as d

from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler

SOURCE = """
__device__ int table[4] = {1, 2, 3, 4};

extern "C" __global__ void __launch_bounds__(128) add(int *x, int value)
{
    x[blockIdx.x * blockDim.x + threadIdx.x] += value;
}

extern "C" __global__ void look_up(int *x, int index) { x[threadIdx.x] = table[index]; }

extern "C" __global__ void copy(int *to, const int *from) { to[threadIdx.x] = from[threadIdx.x]; }

extern "C" __global__ void shared(int *x)
{
    extern __shared__ int dynamic[];
    __shared__ int fixed[64];
    fixed[threadIdx.x & 63] = threadIdx.x;
    dynamic[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = dynamic[blockDim.x - 1 - threadIdx.x] + fixed[threadIdx.x & 63];
}

// A barrier of the whole grid, made by hand: all blocks must run at the same time.
extern "C" __global__ void meet(int *count, int *after)
{
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(count, 1);
        while (atomicAdd(count, 0) < (int)gridDim.x) {
        }
        after[blockIdx.x] = atomicAdd(count, 0);
    }
}
"""


@cache
def compiled(kind: str, arch: str = "sm_80") -> bytes:
    """Return the kernels above, compiled."""
    return compile_cuda(find_cuda_compiler("nvrtc"), SOURCE, arch, kind, cache=BuildCache.default()).data


PTX = compiled("ptx") + b"\0"


def ok(answer: tuple[Any, ...]) -> Any:
    """Return what a call gave, which must have succeeded."""
    error, *rest = answer
    assert error == d.CUresult.CUDA_SUCCESS, error
    return rest[0] if len(rest) == 1 else tuple(rest)


def code(answer: tuple[Any, ...]) -> int:
    """Return the error of a call as a number."""
    return int(answer[0])


def say(*answers: tuple[Any, ...]) -> None:
    """Print the errors of calls."""
    print(*map(code, answers))


def say_open(device: int = 0) -> Any:
    """Make the primary context of a device current and return it."""
    ok(d.cuInit(0))
    context = ok(d.cuDevicePrimaryCtxRetain(device))
    ok(d.cuCtxPushCurrent(context))
    return context


def module() -> Any:
    """Return the kernels, loaded into the current context."""
    return ok(d.cuModuleLoadData(PTX))


def function(name: str = "add") -> Any:
    """Return a kernel of a freshly loaded module."""
    return ok(d.cuModuleGetFunction(module(), name.encode()))


def pinned(size_bytes: int) -> Any:
    """Return page-locked memory as an array of bytes, zero at first."""
    address = ok(d.cuMemHostAlloc(size_bytes, 0))
    array = np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(address))
    array[:] = 0
    return array


def arguments(*values: int) -> Any:
    """Return kernel arguments: device pointers, then integers, told apart by their size."""
    kinds = [ctypes.c_int if abs(int(value)) < 2**31 else ctypes.c_uint64 for value in values]
    return tuple(int(value) for value in values), tuple(kinds)


def launch(
    kernel: Any = None, *values: int, grid: int = 1, block: int = 4, stream: Any = 0, shared: int = 0
) -> Any:
    """Return the answer to a launch; of ``add`` on a fresh buffer by default."""
    if kernel is None:
        kernel, values = function(), (int(ok(d.cuMemAlloc(4 * grid * block))), 1)
        ok(d.cuMemsetD32(values[0], 0, grid * block))
    return d.cuLaunchKernel(kernel, grid, 1, 1, block, 1, 1, shared, stream, arguments(*values), 0)


def read(address: Any, count: int) -> list[int]:
    """Return 32-bit integers of device memory, waiting for what comes before on the default stream."""
    array = np.zeros(count, np.int32)
    ok(d.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))
    return array.tolist()


def device_array(values: list[int]) -> Any:
    """Return fresh device memory that holds these 32-bit integers."""
    array = np.array(values, np.int32)
    address = ok(d.cuMemAlloc(array.nbytes))
    ok(d.cuMemcpyHtoD(address, array.ctypes.data, array.nbytes))
    ok(d.cuCtxSynchronize())
    return address
