"""Whether the emulator is right: small kernels run on the device and in the emulator, and with NumPy.

The kernels are those of ``tests/emulator_faults``, without their faults. ``write_expectations`` needs no GPU:
it leaves sources, launches, inputs and the outputs of the emulator as files, for machines with only a driver.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_check.device import POISON, Bench
from bnncc import emulator
from bnncc.diagnostics import BnnccError, PlatformError
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import CudaCompiler, compile_cuda
from tests.emulator_faults.case import ARCH, SOURCES, Array, Case, Step, source_text
from tests.emulator_faults.cases import cases

Rows = list[dict[str, Any]]
Results = Mapping[str, Array]


def check_executor(bench: Bench) -> Rows:
    """Compare every kernel on the device with the emulator and with NumPy."""
    compiler, rows = bench.compiler, []
    with bench.session.active("checking the emulator"):
        driver = _Driver(ctypes.CDLL("libcuda.so.1"))
        for source in SOURCES:
            group = [case for case in cases() if case.source == source]
            needed = ARCH if source == "hopper" else "sm_80"
            if bench.session.device.capability < (8, 0) or (needed == ARCH and bench.arch != ARCH):
                rows += [{"case": case.name, "result": f"not run: it needs {needed}"} for case in group]
                continue
            try:
                image = compile_cuda(
                    compiler,
                    source_text(source, is_faulty=False),
                    bench.arch,
                    "cubin",
                    cache=BuildCache.default(),
                )
                module = driver.module(image.data)
                expected = emulated(compiler, source)
            except BnnccError as error:
                rows += [{"case": case.name, "result": f"FAILED: {error}"} for case in group]
                continue
            rows += [_compared(case, expected[case.name], partial(driver.run, module)) for case in group]
    return rows


def emulated(compiler: CudaCompiler, source: str) -> dict[str, Results]:
    """Return what the emulator computes for every case of a source, by the name of the case."""
    text = source_text(source, is_faulty=False)
    ptx = compile_cuda(compiler, text, ARCH, "ptx", cache=BuildCache.default(), has_lines=True).data.decode()
    found: dict[str, Results] = {}
    with emulator.load(ptx, name=f"{source}.ptx") as module:
        for case in cases():
            if case.source == source:
                found[case.name] = _run_emulated(module, case)
    return found


def write_expectations(compiler: CudaCompiler, folder: Path) -> int:
    """Write sources, launches, inputs and the emulator's outputs; return the number of cases."""
    folder.mkdir(parents=True, exist_ok=True)
    described = []
    for source in SOURCES:
        _write(folder / f"{source}.cu", source_text(source, is_faulty=False).encode())
        outputs = emulated(compiler, source)
        for case in cases():
            if case.source == source:
                described.append(_described(case))
                arrays = {f"in_{name}": array for name, array in case.inputs.items()}
                arrays |= {f"out_{name}": array for name, array in outputs[case.name].items()}
                aside = folder / f"{case.name}.{os.getpid()}.tmp.npz"
                np.savez_compressed(aside, **arrays)  # type: ignore[arg-type]  # keywords are arrays
                os.replace(aside, folder / f"{case.name}.npz")  # noqa: PTH105 - the same call everywhere
    _write(folder / "cases.json", (json.dumps({"arch": ARCH, "cases": described}, indent=1) + "\n").encode())
    return len(described)


def _described(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "source": f"{case.source}.cu",
        "is_cooperative": case.is_cooperative,
        "scratch_bytes": dict(case.scratch),
        "steps": [
            {
                "kernel": step.kernel,
                "grid": list(step.grid),
                "block": step.block,
                "arguments": list(step.arguments),
                "shared_bytes": step.shared_bytes,
            }
            for step in case.steps
        ],
    }


def _write(path: Path, content: bytes) -> None:
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    aside.write_bytes(content)
    os.replace(aside, path)  # noqa: PTH105 - the same call everywhere


def _run_emulated(module: emulator.EmulatedModule, case: Case) -> Results:
    options = emulator.LaunchOptions(cooperative=case.is_cooperative)
    with emulator.DeviceMemory(1 << 22) as memory:
        buffers = {name: memory.upload(array) for name, array in case.inputs.items()}
        buffers |= {name: memory.alloc(length) for name, length in _fresh(case).items()}
        for step in case.steps:
            args = [buffers[item] if isinstance(item, str) else item for item in step.arguments]
            shared = step.shared_bytes
            module.launch(step.kernel, step.grid, (step.block,), args, shared_bytes=shared, options=options)
        return {
            name: buffers[name].download(array.dtype, array.shape) for name, array in case.outputs.items()
        }


def _fresh(case: Case) -> dict[str, int]:
    """Return the arrays that begin as junk, and their lengths in bytes."""
    lengths = {**case.scratch, **{name: array.nbytes for name, array in case.outputs.items()}}
    return {name: length for name, length in lengths.items() if name not in case.inputs}


def _compared(case: Case, expected: Results, run: Callable[[Case], Results]) -> dict[str, Any]:
    try:
        found = run(case)
    except PlatformError as error:
        return {"case": case.name, "result": f"FAILED: {error}"}
    device = [name for name in expected if not np.array_equal(found[name], expected[name])]
    numpy = [name for name in expected if not np.array_equal(case.outputs[name], expected[name])]
    wrong = [f"device and emulator differ in {', '.join(device)}"] if device else []
    wrong += [f"NumPy and emulator differ in {', '.join(numpy)}"] if numpy else []
    return {"case": case.name, "result": f"FAILED: {'; '.join(wrong)}" if wrong else "ok"}


@dataclass(frozen=True, slots=True)
class _Driver:
    """The calls of the driver's interface that launching needs, cooperative launches included."""

    library: ctypes.CDLL

    def call(self, name: str, *arguments: object) -> None:
        """Call ``name``; what the driver refuses becomes a ``PlatformError``."""
        status = getattr(self.library, name)(*arguments)
        if status:
            raise PlatformError(f"{name} gives CUDA error {status}")

    def module(self, image: bytes) -> ctypes.c_void_p:
        """Return ``image`` loaded into the current context."""
        handle = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(handle), image)
        return handle

    def run(self, module: ctypes.c_void_p, case: Case) -> Results:
        """Return the outputs of ``case``."""
        buffers: dict[str, ctypes.c_uint64] = {}
        try:
            for name, array in case.inputs.items():
                content = np.ascontiguousarray(array)
                buffers[name] = self._allocated(content.nbytes)
                self.call(
                    "cuMemcpyHtoD_v2",
                    buffers[name],
                    content.ctypes.data_as(ctypes.c_void_p),
                    _size(content.nbytes),
                )
            for name, length in _fresh(case).items():
                buffers[name] = self._allocated(length)
                self.call("cuMemsetD8_v2", buffers[name], ctypes.c_ubyte(POISON), _size(length))
            for step in case.steps:
                self._launch(module, step, buffers, is_cooperative=case.is_cooperative)
            self.call("cuCtxSynchronize")
            return {name: self._downloaded(buffers[name], array) for name, array in case.outputs.items()}
        finally:
            for buffer in buffers.values():
                self.library.cuMemFree_v2(buffer)

    def _allocated(self, length: int) -> ctypes.c_uint64:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), _size(length))
        return address

    def _downloaded(self, buffer: ctypes.c_uint64, like: Array) -> Array:
        found = np.empty(like.shape, like.dtype)
        self.call("cuMemcpyDtoH_v2", found.ctypes.data_as(ctypes.c_void_p), buffer, _size(found.nbytes))
        return found

    def _launch(
        self,
        module: ctypes.c_void_p,
        step: Step,
        buffers: Mapping[str, ctypes.c_uint64],
        *,
        is_cooperative: bool,
    ) -> None:
        function = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, step.kernel.encode())
        values = [buffers[item] if isinstance(item, str) else ctypes.c_int32(item) for item in step.arguments]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        x, y, z = (*step.grid, 1, 1)[:3]
        shape = (x, y, z, step.block, 1, 1, step.shared_bytes)
        if is_cooperative:
            self.call("cuLaunchCooperativeKernel", function, *shape, None, pointers)
            return
        packed = _packed(values)
        length = ctypes.c_size_t(len(packed))
        begin, count, end = 1, 2, None  # CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE, _END
        held = ctypes.create_string_buffer(packed, len(packed))
        extra = (ctypes.c_void_p * 5)(begin, ctypes.addressof(held), count, ctypes.addressof(length), end)
        self.call("cuLaunchKernel", function, *shape, None, None, extra)


def _packed(values: Sequence[ctypes.c_uint64 | ctypes.c_int32]) -> bytes:
    """Return the parameters as they lie in memory: each at a multiple of its size."""
    packed = b""
    for value in values:
        size = ctypes.sizeof(value)
        packed += bytes(-len(packed) % size) + bytes(value)
    return packed


def _size(length: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(length)
