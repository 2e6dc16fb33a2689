"""The NVIDIA driver of this machine and its devices, asked directly: no package is needed for it."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Final

from bnncc.diagnostics import PlatformError

_LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_EMULATED_MARK: Final = "bnncc_fake_driver"
"""A symbol that the stand-in for tests exports, and no driver of a GPU."""
_NAME_BYTES: Final = 256
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76  # of cuDeviceGetAttribute
_SUCCESS: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverDevice:
    """What the driver says about a device."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDriver:
    """The driver library that programs of this machine load.

    Args:
        version: of CUDA, the newest it supports: 13000 is 13.0.
        is_emulated: whether it is a stand-in that has no GPU behind it.
        devices: in the driver's order.
    """

    version: int
    is_emulated: bool
    devices: tuple[DriverDevice, ...]

    @property
    def release(self) -> str:
        """Return the version as CUDA writes it: ``13.0``."""
        return f"{self.version // 1000}.{self.version % 1000 // 10}"


def find_driver() -> CudaDriver:
    """Return the driver and its devices.

    Raises:
        PlatformError: there is no driver library, or it finds no device.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise PlatformError(
            f"no NVIDIA driver: {error}. Install the driver of your GPU, or use another backend "
            "(c, emulator, ref)"
        ) from error
    is_emulated = hasattr(library, _EMULATED_MARK)
    _ask(library, "cuInit", 0)
    version, count = ctypes.c_int(), ctypes.c_int()
    _ask(library, "cuDriverGetVersion", ctypes.byref(version))
    _ask(library, "cuDeviceGetCount", ctypes.byref(count))
    devices = tuple(_device(library, index) for index in range(count.value))
    return CudaDriver(version=version.value, is_emulated=is_emulated, devices=devices)


def _device(library: ctypes.CDLL, index: int) -> DriverDevice:
    name, memory_bytes = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _ask(library, "cuDeviceGetName", name, _NAME_BYTES, index)
    _ask(library, "cuDeviceTotalMem_v2", ctypes.byref(memory_bytes), index)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        _ask(library, "cuDeviceGetAttribute", ctypes.byref(value), which, index)
        return value.value

    return DriverDevice(
        name=name.value.decode(errors="replace"),
        capability=(attribute(_MAJOR), attribute(_MINOR)),
        multiprocessors=attribute(_MULTIPROCESSORS),
        memory_bytes=memory_bytes.value,
    )


def _ask(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(library, function)(*arguments)
    if status == _SUCCESS:
        return
    text = ctypes.c_char_p()
    library.cuGetErrorString(status, ctypes.byref(text))
    said = text.value.decode(errors="replace") if text.value else f"error {status}"
    raise PlatformError(
        f"the NVIDIA driver ({_LIBRARY}) says: {said}. Look at 'nvidia-smi' and at CUDA_VISIBLE_DEVICES"
    )
