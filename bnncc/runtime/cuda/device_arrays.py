"""Arrays on a device: those of other libraries read in place, and ours, which they can read in place."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError
from bnncc.ir.types import Value
from bnncc.runtime import dlpack
from bnncc.runtime.addresses import array_dtype
from bnncc.runtime.cuda.context import CudaSession
from bnncc.runtime.cuda.errors import DriverRefusal
from bnncc.runtime.cuda.memory import BlockPool
from bnncc.runtime.cuda.streams import LEGACY, CudaStream, Mark, stream_of

_ON_DEVICE: Final = (dlpack.CUDA, dlpack.CUDA_MANAGED)


def is_on_device(item: Any) -> bool:  # noqa: ANN401 - any library's object
    """Return whether ``item`` is an array in the memory of a CUDA device."""
    if hasattr(item, "__dlpack_device__"):
        return item.__dlpack_device__()[0] in _ON_DEVICE
    return hasattr(item, "__cuda_array_interface__")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """An array of the caller, where it lies.

    Args:
        address: of its first element.
        shape: images first.
        owner: keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    owner: object


def view_of(value: Value, item: Any, session: CudaSession, stream: CudaStream, name: str) -> DeviceView:  # noqa: ANN401 - whatever a caller hands in
    """Return the array ``item`` of the caller for ``value``, called ``name``; nothing is copied.

    What the array's library still does with it comes before what ``stream`` is given from now on: DLPack
    makes its library see to that, and the array interface names a stream.

    Raises:
        DataError: it has another element type, is not contiguous, or lies on another device.
    """
    if hasattr(item, "__dlpack_device__"):
        return _view_by_dlpack(value, item, session, stream, name)
    if hasattr(item, "__cuda_array_interface__"):
        return _view_by_interface(value, item, session, stream, name)
    raise DataError(
        f"{name} is a '{type(item).__name__}', which is not on the device: give arrays with DLPack or "
        "__cuda_array_interface__ for all of them, or NumPy arrays for all of them"
    )


def _view_by_dlpack(
    value: Value,
    item: Any,  # noqa: ANN401 - any library's object
    session: CudaSession,
    stream: CudaStream,
    name: str,
) -> DeviceView:
    kind, index = (int(part) for part in item.__dlpack_device__())
    if kind not in _ON_DEVICE:
        raise DataError(f"{name} lies in the memory of the host; give all arrays there, or all on the device")
    if kind == dlpack.CUDA:
        _check_device(index, session, name)
    try:
        imported = dlpack.import_capsule(item.__dlpack__(stream=stream.handle))
    except (BufferError, TypeError) as error:
        raise DataError(f"{name} cannot be handed over: {error}") from error
    _check_dtype(value, imported.dtype, name)
    if not imported.is_contiguous:
        raise DataError(_not_contiguous(name))
    return DeviceView(address=imported.address, shape=imported.shape, owner=(item, imported))


def _view_by_interface(
    value: Value,
    item: Any,  # noqa: ANN401 - any library's object
    session: CudaSession,
    stream: CudaStream,
    name: str,
) -> DeviceView:
    interface: Mapping[str, Any] = item.__cuda_array_interface__
    shape = tuple(interface["shape"])
    dtype = np.dtype(interface["typestr"])
    _check_dtype(value, dtype, name)
    strides = interface.get("strides")
    if strides is not None and not dlpack.is_contiguous(shape, tuple(strides), dtype.itemsize):
        raise DataError(_not_contiguous(name))
    if interface.get("mask") is not None:
        raise DataError(f"{name} has a mask, which means nothing here")
    address, is_read_only = interface["data"]
    if is_read_only and name.startswith("output"):
        raise DataError(f"{name} is read-only")
    if address and session.bindings is not None and 0 not in shape:
        api = session.bindings.api
        ordinal = api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        try:
            index = session.bindings.call("cuPointerGetAttribute", ordinal, address)
        except DriverRefusal as error:
            raise DataError(f"{name} is not memory of a CUDA device, or it was freed: {error}") from error
        _check_device(int(index), session, name)
    _wait_for(interface.get("stream"), session, stream)
    return DeviceView(address=int(address or 0), shape=shape, owner=item)


def _wait_for(handle: int | None, session: CudaSession, stream: CudaStream) -> None:
    """Let ``stream`` wait for the stream that an array interface names (version 3); None: nobody has to."""
    if handle is None:
        return
    theirs = stream_of(handle, session.driver, session.bindings)
    if theirs.handle != stream.handle:
        mark = Mark(session.driver, session.bindings)
        try:
            mark.record(theirs)
            mark.hold_back(stream)
        finally:
            mark.free()  # the driver keeps an event until all waits for it are over


def _check_device(index: int, session: CudaSession, name: str) -> None:
    if index != session.index:
        raise DataError(
            f"{name} lies on device {index}, and this session runs on device {session.index}: "
            f"copy it there, or open the session with device={index}"
        )


def _check_dtype(value: Value, dtype: np.dtype[Any], name: str) -> None:
    wanted = array_dtype(value)
    if dtype != wanted:
        raise DataError(f"{name} has dtype {dtype}; it should be {wanted}: convert it on the device")


def _not_contiguous(name: str) -> str:
    return f"{name} is not contiguous on the device: make a contiguous copy, such as x.contiguous() in torch"


class Storage:
    """The memory of an array of ours; it goes back to its pool when the last array on it is gone.

    Args:
        session: of the device.
        pool: that the memory comes from.
        size_bytes: of the array.
        stream: that writes it.
        mark: behind what writes it.
    """

    def __init__(
        self, session: CudaSession, pool: BlockPool, size_bytes: int, stream: CudaStream, mark: Mark
    ) -> None:
        self.session, self.stream, self.mark = session, stream, mark
        self._block = pool.take(size_bytes, stream.handle)
        self.address = self._block.address
        weakref.finalize(self, pool.give_back, self._block)

    def share(self) -> None:
        """Note that other streams may use it: it must not hold the next result when its array is gone."""
        self._block.is_shared = True


class DeviceArray:
    """An output on the device.

    Other libraries take it without a copy: ``torch.from_dlpack(y)``, ``cupy.from_dlpack(y)``,
    ``cupy.asarray(y)``; ``y.numpy()`` copies it to the host.

    Args:
        shape: images first.
        dtype: of an element.
        storage: its memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], storage: Storage) -> None:
        self.shape, self.dtype = shape, dtype
        self._storage = storage

    @property
    def device(self) -> int:
        """Return the index of its device."""
        return self._storage.session.index

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype}{list(self.shape)}, device={self.device})"

    def with_shape(self, shape: tuple[int, ...]) -> DeviceArray:
        """Return the same memory as an array of another shape."""
        return DeviceArray(shape, self.dtype, self._storage)

    def numpy(self) -> npt.NDArray[Any]:
        """Return a copy on the host; waits until the array is finished."""
        copy = np.empty(self.shape, self.dtype)
        if copy.size:
            session = self._storage.session
            with session.context.active("copying an output to the host"):
                self._storage.mark.synchronize()
                session.driver.memcpy_dtoh(copy, self._storage.address)
        return copy

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - NumPy's protocol
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("an array on a device cannot become a NumPy array without a copy")
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Return the CUDA array interface, version 3."""
        self._storage.share()
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._storage.address, False),
            "strides": None,
            "stream": self._storage.stream.handle,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return (dlpack.CUDA, self.device)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """Return a DLPack capsule; ``stream`` (-1: nobody, None: the default one) waits for the array."""
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("this array is handed over where it lies; copy it afterwards")
        storage = self._storage
        reader = CudaStream(LEGACY if stream is None else stream)
        if reader.handle != storage.stream.handle:
            storage.share()
            if stream != -1:
                with storage.session.context.active("handing over an output"):
                    storage.mark.hold_back(reader)
        return dlpack.export_capsule(
            self,
            address=storage.address,
            shape=self.shape,
            dtype=self.dtype,
            device=self.__dlpack_device__(),
        )
