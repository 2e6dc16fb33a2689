"""The CUDA driver by ctypes: kernels of the checks need no PyCUDA, and share torch's context."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import PlatformError

Array = npt.NDArray[Any]
Argument: TypeAlias = "DeviceBuffer | int | ctypes.c_uint64 | ctypes.c_size_t"
"""A buffer, a 32-bit integer, or a value of 64 bits as ctypes has it."""

_COOPERATIVE, _CLUSTER, _EARLY = 2, 4, 6  # CUlaunchAttributeID
_MAX_SHARED, _ANY_CLUSTER = 8, 14  # CUfunction_attribute
_NON_BLOCKING, _RELAXED = 1, 2
_UNCHECKED_SHARED_BYTES: Final = 48 << 10


class _AttributeValue(ctypes.Union):
    _fields_ = (("pad", ctypes.c_char * 64), ("flag", ctypes.c_int), ("cluster", ctypes.c_uint * 3))


class _Attribute(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("value", _AttributeValue))


class _Config(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("count", ctypes.c_uint),
    )


@dataclass(frozen=True, slots=True)
class DeviceBuffer:
    """Memory on the device."""

    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a kernel is launched.

    Args:
        block: threads of a block; of them ``block_x`` in a row, 0: all.
        cluster: blocks of a cluster; 1: none.
        is_early: it may begin before the launch before it has ended.
    """

    grid: tuple[int, ...]
    block: int
    block_x: int = 0
    shared_bytes: int = 0
    is_cooperative: bool = False
    cluster: int = 1
    is_early: bool = False


@dataclass(slots=True)
class Driver:
    """A device, its primary context made current in this thread, and one stream."""

    index: int = 0
    library: ctypes.CDLL = field(init=False)
    stream: ctypes.c_void_p = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise PlatformError(f"no NVIDIA driver: {error}") from error
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), self.index)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(self.stream), _NON_BLOCKING)

    def call(self, name: str, *arguments: object) -> None:
        """Call ``name``; what the driver refuses becomes a ``PlatformError``."""
        status = getattr(self.library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(status, ctypes.byref(text))
            raise PlatformError(f"{name} gives CUDA error {status}: {(text.value or b'').decode()}")

    def attribute(self, number: int) -> int:
        """Return an attribute of the device, by its number in ``cuda.h``."""
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), number, self.index)
        return value.value

    @property
    def multiprocessors(self) -> int:
        """Return how many the device has."""
        return self.attribute(16)

    @property
    def capability(self) -> tuple[int, int]:
        """Return the compute capability."""
        return self.attribute(75), self.attribute(76)

    @contextmanager
    def buffers(self, **sizes: int) -> Iterator[dict[str, DeviceBuffer]]:
        """Allocate buffers of so many bytes, full of junk, for a while."""
        made: dict[str, DeviceBuffer] = {}
        try:
            for name, size in sizes.items():
                address = ctypes.c_uint64()
                self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
                made[name] = DeviceBuffer(address.value, size)
                self.call("cuMemsetD8_v2", address, ctypes.c_ubyte(0xA5), ctypes.c_size_t(size))
            self.call("cuCtxSynchronize")
            yield made
        finally:
            self.library.cuCtxSynchronize()
            for buffer in made.values():
                self.library.cuMemFree_v2(ctypes.c_uint64(buffer.address))

    def upload(self, buffer: DeviceBuffer, array: Array) -> None:
        """Copy ``array`` to the start of ``buffer``."""
        content = np.ascontiguousarray(array)
        size, source = ctypes.c_size_t(content.nbytes), content.ctypes.data_as(ctypes.c_void_p)
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(buffer.address), source, size)
        self.call("cuCtxSynchronize")  # the stream does not wait for copies of the default stream

    def download(self, buffer: DeviceBuffer, dtype: npt.DTypeLike, count: int, first: int = 0) -> Array:
        """Return ``count`` elements of ``buffer`` from element ``first`` on, after everything has ended."""
        self.call("cuCtxSynchronize")
        found = np.empty(count, dtype)
        start = ctypes.c_uint64(buffer.address + first * found.itemsize)
        size, target = ctypes.c_size_t(found.nbytes), found.ctypes.data_as(ctypes.c_void_p)
        self.call("cuMemcpyDtoH_v2", target, start, size)
        return found

    def kernels(self, image: bytes, *names: str) -> dict[str, Kernel]:
        """Return kernels of a cubin by name; the module stays loaded."""
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), image)
        found: dict[str, Kernel] = {}
        for name in names:
            function = ctypes.c_void_p()
            self.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
            found[name] = Kernel(self, function)
        return found

    def seconds(self, enqueue: Callable[[], None], stream: ctypes.c_void_p | None = None) -> float:
        """Return the device time of what ``enqueue`` puts on the stream, between two events."""
        where = self.stream if stream is None else stream
        before, after = self._event(), self._event()
        try:
            self.call("cuEventRecord", before, where)
            enqueue()
            self.call("cuEventRecord", after, where)
            self.call("cuEventSynchronize", after)
            milliseconds = ctypes.c_float()
            elapsed = getattr(self.library, "cuEventElapsedTime_v2", self.library.cuEventElapsedTime)
            if status := elapsed(ctypes.byref(milliseconds), before, after):
                raise PlatformError(f"cuEventElapsedTime gives CUDA error {status}")
            return milliseconds.value * 1e-3
        finally:
            self.library.cuEventDestroy_v2(before)
            self.library.cuEventDestroy_v2(after)

    def captured(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Return what replays the work that ``enqueue`` puts on the stream, as one graph."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuStreamBeginCapture_v2", self.stream, _RELAXED)
        try:
            enqueue()
        finally:
            self.call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        return lambda: self.call("cuGraphLaunch", executable, self.stream)

    def synchronize(self) -> None:
        """Wait for everything."""
        self.call("cuCtxSynchronize")

    def _event(self) -> ctypes.c_void_p:
        event = ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(event), 0)
        return event


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that is loaded."""

    driver: Driver
    function: ctypes.c_void_p

    def launch(
        self, shape: Shape, arguments: Sequence[Argument], stream: ctypes.c_void_p | None = None
    ) -> None:
        """Put one launch on the stream."""
        call = self.driver.call
        if shape.shared_bytes > _UNCHECKED_SHARED_BYTES:
            call("cuFuncSetAttribute", self.function, _MAX_SHARED, shape.shared_bytes)
        if shape.cluster > _PORTABLE_CLUSTER:
            call("cuFuncSetAttribute", self.function, _ANY_CLUSTER, 1)
        values = [_value(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * max(1, len(values)))(*[ctypes.addressof(value) for value in values])
        attributes = _attributes(shape)
        config = _Config(
            grid=(ctypes.c_uint * 3)(*(*shape.grid, 1, 1)[:3]),
            block=(ctypes.c_uint * 3)(
                shape.block_x or shape.block, shape.block // (shape.block_x or shape.block), 1
            ),
            shared_bytes=shape.shared_bytes,
            stream=(self.driver.stream if stream is None else stream).value,
            attributes=attributes,
            count=len(attributes),
        )
        call("cuLaunchKernelEx", ctypes.byref(config), self.function, pointers, None)


_PORTABLE_CLUSTER: Final = 8


def _attributes(shape: Shape) -> ctypes.Array[_Attribute]:
    found: list[_Attribute] = []
    for number, is_wanted in ((_COOPERATIVE, shape.is_cooperative), (_EARLY, shape.is_early)):
        if is_wanted:
            found.append(_Attribute(id=number, value=_AttributeValue(flag=1)))
    if shape.cluster > 1:
        cluster = (ctypes.c_uint * 3)(shape.cluster, 1, 1)
        found.append(_Attribute(id=_CLUSTER, value=_AttributeValue(cluster=cluster)))
    return (_Attribute * len(found))(*found)


def _value(argument: Argument) -> ctypes.c_uint64 | ctypes.c_int32 | ctypes.c_size_t:
    match argument:
        case DeviceBuffer(address=address):
            return ctypes.c_uint64(address)
        case int():
            return ctypes.c_int32(argument)
        case _:
            return argument


def differing(found: Array, expected: Array) -> str:
    """Return ``ok``, or where the first of the wrong elements stands."""
    wrong = np.flatnonzero(found.ravel() != expected.ravel())
    if not wrong.size:
        return "ok"
    at = int(wrong[0])
    values = f"{found.ravel()[at]} not {expected.ravel()[at]}"
    return f"FAILED: {wrong.size} of {expected.size} differ, first [{at}]: {values}"


Rows: TypeAlias = Iterator[Mapping[str, Any]]
"""Rows of the report; those that were made count even if the next one never comes."""
