"""Networks of ours with inputs and outputs on the device, ready to be timed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Array, DeviceBuffer
from benchmarks.gpu_check.measure import Call
from bnncc.ir.kernel import KernelProgram
from bnncc.runtime.addresses import array_dtype
from bnncc.runtime.cuda import CudaExecutable

SETS = 4
"""Of inputs and outputs that take turns."""


@dataclass(frozen=True, slots=True)
class View:
    """An array in a buffer, as other libraries see it."""

    buffer: DeviceBuffer
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Return what the interface's version 3 asks for."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.buffer.address, False),
            "version": 3,
        }

    @property
    def count(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)


@contextmanager
def placed(
    machine: Machine, program: KernelProgram, executable: CudaExecutable, inputs: list[dict[str, Array]]
) -> Iterator[tuple[list[Call], list[dict[str, View]]]]:
    """Yield a call and its outputs for each of ``inputs``, on the driver's stream, in memory of its own."""
    driver = machine.driver
    with ExitStack() as stack:
        calls: list[Call] = []
        outputs: list[dict[str, View]] = []
        for given in inputs:
            images = len(next(iter(given.values())))
            sizes = {name: array.nbytes for name, array in given.items()}
            buffers = stack.enter_context(driver.buffers(**sizes))
            views = {}
            for name, array in given.items():
                driver.upload(buffers[name], array)
                views[name] = View(buffers[name], array.shape, array.dtype)
            out = {}
            for output in program.graph.outputs:
                shape, dtype = (images, *output.value.type.shape), np.dtype(array_dtype(output.value))
                memory = stack.enter_context(driver.buffers(out=math.prod(shape) * dtype.itemsize))
                out[output.name] = View(memory["out"], shape, dtype)
            calls.append(partial(executable.run_on_device, views, stream=driver.stream.value, out=out))
            outputs.append(out)
        yield calls, outputs
