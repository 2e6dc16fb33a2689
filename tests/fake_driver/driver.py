"""The Python half of the fake libcuda: device memory and kernels of the emulator."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnncc import emulator
from bnncc.diagnostics import PlatformError

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, INVALID_IMAGE, NOT_FOUND, ILLEGAL_ADDRESS = 0, 1, 2, 200, 500, 700

_R, _A, _P, _N = ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t
_OUT = ctypes.POINTER(ctypes.c_uint64)
_THREE = ctypes.POINTER(ctypes.c_uint)
_TYPES = {
    "allocate": ctypes.CFUNCTYPE(_R, _OUT, _N),
    "release": ctypes.CFUNCTYPE(_R, _A),
    "to_device": ctypes.CFUNCTYPE(_R, _A, _P, _N),
    "to_host": ctypes.CFUNCTYPE(_R, _P, _A, _N),
    "fill": ctypes.CFUNCTYPE(_R, _A, ctypes.c_uint, _N, _N),
    "load": ctypes.CFUNCTYPE(_R, _P, _OUT),
    "unload": ctypes.CFUNCTYPE(_R, _A),
    "find": ctypes.CFUNCTYPE(_R, _A, ctypes.c_char_p, _OUT),
    "launch": ctypes.CFUNCTYPE(_R, _A, _THREE, _THREE, ctypes.c_uint, _P, _N),
}


class _Callbacks(ctypes.Structure):
    _fields_ = tuple(_TYPES.items())


@dataclass
class FakeDriver:
    """The device behind ``libcuda.so.1`` of this process.

    Args:
        errors: the error that each named call answers from now on, for tests of failures.
        calls: how often each call came.
        faults: what the emulator found.
    """

    errors: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    faults: list[emulator.EmulatorFault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.memory = emulator.DeviceMemory()
        self.buffers: dict[int, emulator.Buffer] = {}
        self.modules: dict[int, emulator.EmulatedModule] = {}
        self.functions: dict[int, tuple[emulator.EmulatedModule, emulator.KernelSignature]] = {}
        self.cubins: dict[bytes, bytes] = {}
        # The C side keeps the pointers only.
        self._kept = _Callbacks(
            **{name: kind(self._guarded(name, getattr(self, f"_{name}"))) for name, kind in _TYPES.items()}
        )
        self.library.fake_install(ctypes.byref(self._kept))

    def register(self, cubin: bytes, ptx: bytes) -> None:
        """Note which PTX runs in the place of a cubin."""
        self.cubins[cubin] = ptx

    def set(self, name: str, value: int) -> None:
        """Set ``fake_device_count`` or ``fake_capability``."""
        ctypes.c_int.in_dll(self.library, name).value = value

    @property
    def contexts(self) -> int:
        """Return how many contexts are retained."""
        return ctypes.c_int.in_dll(self.library, "fake_contexts").value

    def _guarded(self, name: str, function: Callable[..., int]) -> Callable[..., int]:
        def answer(*arguments: Any) -> int:
            self.calls[name] = self.calls.get(name, 0) + 1
            if name in self.errors:
                return self.errors[name]
            return function(*arguments)

        return answer

    def _allocate(self, address: Any, size_bytes: int) -> int:
        try:
            buffer = self.memory.alloc(size_bytes)
        except PlatformError:
            return OUT_OF_MEMORY
        self.buffers[buffer.address] = buffer
        address[0] = buffer.address
        return SUCCESS

    def _release(self, address: int) -> int:
        if address not in self.buffers:
            return INVALID_VALUE
        self.memory.free(self.buffers.pop(address))
        return SUCCESS

    def _view(self, address: int, size_bytes: int) -> Any:
        for start, buffer in self.buffers.items():
            if start <= address and address + size_bytes <= start + buffer.size_bytes:
                return self.memory.bytes_at(buffer.offset + address - start, size_bytes)
        return None

    def _note_written(self, address: int, size_bytes: int) -> None:
        self.memory.note_written(address - emulator.BASE_ADDRESS, size_bytes)

    def _to_device(self, address: int, source: int, size_bytes: int) -> int:
        view = self._view(address, size_bytes)
        if view is None:
            return INVALID_VALUE
        view[:] = np.frombuffer(ctypes.string_at(source, size_bytes), np.uint8)
        self._note_written(address, size_bytes)
        return SUCCESS

    def _to_host(self, target: int, address: int, size_bytes: int) -> int:
        view = self._view(address, size_bytes)
        if view is None:
            return INVALID_VALUE
        ctypes.memmove(target, view.tobytes(), size_bytes)
        return SUCCESS

    def _fill(self, address: int, value: int, width: int, count: int) -> int:
        view = self._view(address, width * count)
        if view is None:
            return INVALID_VALUE
        view.view(np.dtype(f"u{width}"))[:] = value
        self._note_written(address, width * count)
        return SUCCESS

    def _load(self, image: int, module: Any) -> int:
        if ctypes.string_at(image, 4) == b"\x7fELF":
            found = [
                ptx for cubin, ptx in self.cubins.items() if ctypes.string_at(image, len(cubin)) == cubin
            ]
            if not found:
                return INVALID_IMAGE
            ptx = found[0]
        else:
            ptx = ctypes.string_at(image)
        try:
            loaded = emulator.load(ptx.decode(), name="fake.ptx")
        except emulator.PtxError:
            return INVALID_IMAGE
        number = len(self.modules) + 1
        self.modules[number] = loaded
        module[0] = number
        return SUCCESS

    def _unload(self, module: int) -> int:
        self.modules[module].close()
        return SUCCESS

    def _find(self, module: int, name: bytes, function: Any) -> int:
        loaded = self.modules[module]
        for signature in loaded.kernels:
            if signature.name == name.decode():
                number = len(self.functions) + 1
                self.functions[number] = (loaded, signature)
                function[0] = number
                return SUCCESS
        return NOT_FOUND

    def _launch(
        self, function: int, grid: Any, block: Any, shared_bytes: int, parameters: int, size_bytes: int
    ) -> int:
        module, signature = self.functions[function]
        content = ctypes.string_at(parameters, size_bytes)
        if size_bytes < signature.parameter_bytes:
            return INVALID_VALUE
        arguments = [content[p.offset : p.offset + p.size_bytes] for p in signature.parameters]
        options = emulator.LaunchOptions(memory=self.memory)
        try:
            module.launch(
                signature.name, grid[:3], block[:3], arguments, shared_bytes=shared_bytes, options=options
            )
        except emulator.EmulatorFault as fault:
            self.faults.append(fault)
            kinds = {finding.kind for finding in fault.findings}
            return INVALID_VALUE if kinds == {emulator.FaultKind.LAUNCH} else ILLEGAL_ADDRESS
        return SUCCESS
