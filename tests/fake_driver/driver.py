"""The Python half of the fake libcuda: device memory and kernels of the emulator."""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys
import traceback
from collections.abc import Callable
from functools import cache, partial
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from bnncc import emulator
from bnncc.diagnostics import InternalError, PlatformError
from bnncc.toolchain.occupancy import KernelNeeds, occupancy
from tests.fake_driver.devices import FakeDevice, described_devices
from tests.fake_driver.images import Image, ImageError, digest, load_image

T = TypeVar("T")

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NOT_FOUND = 0, 1, 2, 500
ILLEGAL_ADDRESS, LAUNCH_TIMEOUT, MISALIGNED_ADDRESS, LAUNCH_FAILED, UNKNOWN = 700, 702, 716, 719, 999

_R, _I, _A, _P, _N = ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t
_NAME = ctypes.c_char_p
_OUT, _SIZE = ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_size_t)


class _Facts(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint64),
        *((name, ctypes.c_int) for name in ("max_threads", "shared_bytes", "constant_bytes", "local_bytes")),
        *((name, ctypes.c_int) for name in ("registers", "ptx_version", "binary_version")),
        *((name, ctypes.c_int) for name in ("parameter_bytes", "parameter_count")),
    )


class _Request(ctypes.Structure):
    _fields_ = (
        ("function", ctypes.c_uint64),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("is_cooperative", ctypes.c_int),
        ("is_opted_in", ctypes.c_int),
        ("device", ctypes.c_int),
        ("reachable_devices", ctypes.c_uint64),
        ("parameters", ctypes.c_void_p),
        ("parameter_bytes", ctypes.c_size_t),
    )


_TYPES = {
    "device_count": ctypes.CFUNCTYPE(_R),
    "device_attribute": ctypes.CFUNCTYPE(_R, _I, _I),
    "device_name": ctypes.CFUNCTYPE(_R, _I, _P, _I),
    "allocate": ctypes.CFUNCTYPE(_R, _I, _N, _OUT),
    "release": ctypes.CFUNCTYPE(_R, _A),
    "to_device": ctypes.CFUNCTYPE(_R, _A, _P, _N),
    "to_host": ctypes.CFUNCTYPE(_R, _P, _A, _N),
    "between": ctypes.CFUNCTYPE(_R, _A, _A, _N),
    "fill": ctypes.CFUNCTYPE(_R, _A, ctypes.c_uint, _N, _N),
    "load": ctypes.CFUNCTYPE(_R, _I, _P, _OUT, _P, _N),
    "unload": ctypes.CFUNCTYPE(_R, _A),
    "find": ctypes.CFUNCTYPE(_R, _A, _NAME, ctypes.POINTER(_Facts)),
    "parameter": ctypes.CFUNCTYPE(_R, _A, _N, _SIZE, _SIZE),
    "variable": ctypes.CFUNCTYPE(_R, _A, _NAME, _SIZE),
    "bind": ctypes.CFUNCTYPE(_R, _A, _NAME, _A),
    "launch": ctypes.CFUNCTYPE(_R, ctypes.POINTER(_Request)),
    "occupancy": ctypes.CFUNCTYPE(_R, _A, _I, _I, _N),
}
_INTERPRETER = ("PyGILState_Check", "PyEval_SaveThread", "PyEval_RestoreThread")


class _Callbacks(ctypes.Structure):
    _fields_ = (*_TYPES.items(), *((name, ctypes.c_void_p) for name in _INTERPRETER))


class FakeDriver:
    """The devices behind ``libcuda.so.1`` of this process; `attached` returns the one there is.

    Args:
        devices: what the driver shows; may be changed while there is no context.
        calls: how often each operation of the device was carried out, by the names of ``_TYPES``.
        faults: what the emulator found.
    """

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.devices: tuple[FakeDevice, ...] = described_devices()
        self.calls: dict[str, int] = {}
        self.faults: list[emulator.EmulatorFault] = []
        self.memory = emulator.DeviceMemory(max(1, len(self.devices)) * self.devices_bytes())
        self.buffers: dict[int, tuple[int, emulator.Buffer]] = {}
        self.images: dict[int, Image] = {}
        self.functions: dict[int, tuple[int, emulator.KernelSignature]] = {}
        self.variables: dict[int, dict[str, int]] = {}
        self.ptx_of: dict[str, bytes] = {}
        self._engine = Lock()
        # The C++ side keeps the pointers only.
        self._kept = _Callbacks(
            *(kind(self._counted(name, getattr(self, f"_{name}"))) for name, kind in _TYPES.items()),
            *(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p) for name in _INTERPRETER),
        )
        self.library.fake_install(ctypes.byref(self._kept))
        atexit.register(self.library.fake_install, ctypes.byref(_Callbacks()))

    def devices_bytes(self) -> int:
        """Return the memory of the largest device."""
        return max((device.memory_mib for device in self.devices), default=8192) << 20

    def register(self, cubin: bytes, ptx: bytes) -> None:
        """Note which PTX runs in the place of a cubin."""
        self.ptx_of[digest(cubin)] = ptx

    def show(self, names: str) -> None:
        """Show the devices of a text like ``sm_80,sm_90a``; none for an empty one."""
        self.devices = described_devices(names)

    def fail(self, plan: str) -> None:
        """Plan errors as $FAKE_CUDA_FAIL does (see the README); an empty text plans none."""
        self.library.fake_plan(plan.encode())

    def set_eager(self, *, is_eager: bool) -> None:
        """Run everything when it is enqueued, or when something waits for it."""
        self.library.fake_set_eager(int(is_eager))

    def alive(self, kind: str) -> int:
        """Return how many ``contexts``, ``allocations``, ``modules``, ``streams``, ... are not given back."""
        return int(self.library.fake_alive(kind.encode()))

    def called(self, function: str) -> int:
        """Return how often the host called a function of the driver, named without its version."""
        return int(self.library.fake_calls(function.encode()))

    def _counted(self, name: str, function: Callable[..., int]) -> Callable[..., int]:
        def answer(*arguments: Any) -> int:
            self.calls[name] = self.calls.get(name, 0) + 1
            # A collection here could free objects of PyCUDA, which would call the driver from inside of it.
            was_enabled = gc.isenabled()
            gc.disable()
            try:
                return function(*arguments)
            except Exception:  # noqa: BLE001  -- the caller is C++: what went wrong is said, and the call fails
                traceback.print_exc()
                return UNKNOWN
            finally:
                if was_enabled:
                    gc.enable()

        return answer

    # ---- devices ----

    def _device_count(self) -> int:
        return len(self.devices)

    def _device_attribute(self, device: int, attribute: int) -> int:
        return self.devices[device].attributes().get(attribute, 0)

    def _device_name(self, device: int, name: int, length: int) -> int:
        text = self.devices[device].name.encode()[: length - 1] + b"\0"
        ctypes.memmove(name, text, len(text))
        return SUCCESS

    # ---- memory ----

    def _allocate(self, device: int, size_bytes: int, address: Any) -> int:
        try:
            buffer = self.memory.alloc(size_bytes)
        except PlatformError:
            return OUT_OF_MEMORY
        self.buffers[buffer.address] = device, buffer
        address[0] = buffer.address
        return SUCCESS

    def _release(self, address: int) -> int:
        self.memory.free(self.buffers.pop(address)[1])
        return SUCCESS

    def _view(self, address: int, size_bytes: int) -> Any:
        return self.memory.bytes_at(address - emulator.BASE_ADDRESS, size_bytes)

    def _note_written(self, address: int, size_bytes: int) -> None:
        self.memory.note_written(address - emulator.BASE_ADDRESS, size_bytes)

    def _to_device(self, address: int, source: int, size_bytes: int) -> int:
        self._view(address, size_bytes)[:] = np.frombuffer(ctypes.string_at(source, size_bytes), np.uint8)
        self._note_written(address, size_bytes)
        return SUCCESS

    def _to_host(self, target: int, address: int, size_bytes: int) -> int:
        ctypes.memmove(target, self._view(address, size_bytes).tobytes(), size_bytes)
        return SUCCESS

    def _between(self, target: int, source: int, size_bytes: int) -> int:
        self._view(target, size_bytes)[:] = self._view(source, size_bytes).copy()
        self._note_written(target, size_bytes)
        return SUCCESS

    def _fill(self, address: int, value: int, width: int, count: int) -> int:
        mask = (1 << 8 * width) - 1
        self._view(address, width * count).view(np.dtype(f"u{width}"))[:] = value & mask
        self._note_written(address, width * count)
        return SUCCESS

    # ---- modules ----

    def _load(self, device: int, image: int, module: Any, log: int, log_bytes: int) -> int:
        version = ctypes.c_int(0)
        self.library.cuDriverGetVersion(ctypes.byref(version))
        try:
            loaded = load_image(image, self.devices[device], self.ptx_of, version.value)
        except ImageError as error:
            print(f"fake libcuda: image refused: {error.log}", file=sys.stderr)
            if log_bytes:
                text = error.log.encode()[: log_bytes - 1] + b"\0"
                ctypes.memmove(log, text, len(text))
            return error.code
        number = max(self.images, default=0) + 1
        self.images[number] = loaded
        self.variables[number] = {}
        module[0] = number
        return SUCCESS

    def _unload(self, module: int) -> int:
        self.images.pop(module).module.close()
        del self.variables[module]
        self.functions = {key: found for key, found in self.functions.items() if found[0] != module}
        return SUCCESS

    def _find(self, module: int, name: bytes, facts: Any) -> int:
        image = self.images[module]
        kernel = next((kernel for kernel in image.module.kernels if kernel.name == name.decode()), None)
        if kernel is None:
            return NOT_FOUND
        number = max(self.functions, default=0) + 1
        self.functions[number] = module, kernel
        known, told = image.facts_of(kernel), facts[0]
        told.id = number
        for field in ("max_threads", "shared_bytes", "constant_bytes", "local_bytes", "registers"):
            setattr(told, field, getattr(known, field))
        told.ptx_version, told.binary_version = image.ptx_version, image.binary_version
        told.parameter_bytes, told.parameter_count = kernel.parameter_bytes, len(kernel.parameters)
        return SUCCESS

    def _parameter(self, function: int, index: int, offset: Any, size_bytes: Any) -> int:
        parameters = self.functions[function][1].parameters
        if index >= len(parameters):
            return INVALID_VALUE
        offset[0], size_bytes[0] = parameters[index].offset, parameters[index].size_bytes
        return SUCCESS

    def _variable(self, module: int, name: bytes, size_bytes: Any) -> int:
        try:
            size_bytes[0] = len(self._run(self.images[module].module.read_variable, name.decode()))
        except InternalError:  # there is none of that name
            return NOT_FOUND
        return SUCCESS

    def _bind(self, module: int, name: bytes, address: int) -> int:
        self.variables[module][name.decode()] = address
        self._read_variables(module)
        self._note_written(address, self.buffers[address][1].size_bytes)
        return SUCCESS

    # ---- launches ----

    def _launch(self, given: Any) -> int:
        request = given[0]
        module, kernel = self.functions[request.function]
        content = ctypes.string_at(request.parameters, request.parameter_bytes)
        arguments = [content[p.offset : p.offset + p.size_bytes] for p in kernel.parameters]
        options = emulator.LaunchOptions(
            memory=self.memory,
            cooperative=bool(request.is_cooperative),
            opt_in_shared=bool(request.is_opted_in),
            registers=self.images[module].facts_of(kernel).registers,
            regions=self._out_of_reach(request.reachable_devices),
        )
        launch = partial(self.images[module].module.launch, kernel.name, request.grid[:], request.block[:])
        self._write_variables(module)
        try:
            self._run(launch, arguments, shared_bytes=request.shared_bytes, options=options)
        except emulator.EmulatorFault as fault:
            self.faults.append(fault)
            print(f"fake libcuda: {fault}", file=sys.stderr)
            return _error_of(fault)
        self._read_variables(module)
        return SUCCESS

    def _run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Return what ``function`` of the emulator gives; one runs at a time, whichever thread asks."""
        with self._engine:
            return function(*arguments, **named)

    def _write_variables(self, module: int) -> None:
        for name, address in self.variables[module].items():
            content = self._view(address, self.buffers[address][1].size_bytes).tobytes()
            self._run(self.images[module].module.write_variable, name, content)

    def _read_variables(self, module: int) -> None:
        for name, address in self.variables[module].items():
            content = self._run(self.images[module].module.read_variable, name)
            self._view(address, len(content))[:] = np.frombuffer(content, np.uint8)

    def _out_of_reach(self, devices: int) -> tuple[emulator.Region, ...]:
        """Return an empty region in each buffer of another device: all of it is out of bounds then."""
        return tuple(
            emulator.Region(address=address, size_bytes=0)
            for address, (device, _) in self.buffers.items()
            if not devices >> device & 1
        )

    def _occupancy(self, function: int, device: int, threads: int, shared_bytes: int) -> int:
        module, kernel = self.functions[function]
        facts = self.images[module].facts_of(kernel)
        needs = KernelNeeds(
            threads=threads,
            registers=facts.registers,
            shared_bytes=shared_bytes,
            barriers=max(1, facts.barriers),
        )
        return occupancy(self.devices[device].limits, needs).blocks


_ERRORS = {
    emulator.FaultKind.OUT_OF_BOUNDS: ILLEGAL_ADDRESS,
    emulator.FaultKind.MISALIGNED: MISALIGNED_ADDRESS,
    emulator.FaultKind.DEADLOCK: LAUNCH_TIMEOUT,
    emulator.FaultKind.LIVELOCK: LAUNCH_TIMEOUT,
    emulator.FaultKind.TIMEOUT: LAUNCH_TIMEOUT,
}


def _error_of(fault: emulator.EmulatorFault) -> int:
    return _ERRORS.get(fault.findings[0].kind, LAUNCH_FAILED)


@cache
def attached() -> FakeDriver:
    """Return the devices of this process; ``libcuda.so.1`` calls it when the host calls ``cuInit``."""
    return FakeDriver()
