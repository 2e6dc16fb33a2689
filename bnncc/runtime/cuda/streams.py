"""Streams, our own and those of other libraries, and the order of work between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bnncc.diagnostics import DataError
from bnncc.runtime.cuda.libraries import Bindings, needed

LEGACY: Final = 1
"""The handle of the default stream, in the numbering that DLPack, CAI and the driver share."""
_NON_BLOCKING: Final = 1
_NO_TIMING: Final = 2


@dataclass(frozen=True, slots=True)
class CudaStream:
    """A stream.

    Args:
        handle: a ``CUstream``; `LEGACY` for the default stream.
        own: PyCUDA's object, where PyCUDA made it.
    """

    handle: int
    own: Any = None

    @property
    def is_pycuda(self) -> bool:
        """Return whether PyCUDA can use it: it knows no streams but its own and the default one."""
        return self.own is not None or self.handle == LEGACY


def new_stream(driver: Any) -> CudaStream:  # noqa: ANN401 - pycuda has no types
    """Return a new stream, which does not wait for the default one."""
    own = driver.Stream(_NON_BLOCKING)
    return CudaStream(own.handle, own)


def stream_of(item: Any, driver: Any, bindings: Bindings | None) -> CudaStream:  # noqa: ANN401 - any library
    """Return the caller's stream.

    Args:
        item: a handle, or an object with ``__cuda_stream__`` (cuda.core), ``cuda_stream`` (torch), ``ptr``
            (CuPy) or ``handle`` (PyCUDA, Numba).
        driver: ``pycuda.driver``.
        bindings: needed for the streams of other libraries.

    Raises:
        DataError: it is no stream.
        PlatformError: it is a stream of another library, and there is no cuda-bindings.
    """
    if isinstance(item, driver.Stream):
        return CudaStream(item.handle, item)
    handle = _handle(item)
    if handle in (0, LEGACY):
        return CudaStream(LEGACY)
    needed(bindings, "running on a stream that PyCUDA did not make")
    return CudaStream(handle)


def _handle(item: Any) -> int:  # noqa: ANN401 - any library's object
    found = item
    if hasattr(item, "__cuda_stream__"):
        protocol = item.__cuda_stream__
        found = (protocol() if callable(protocol) else protocol)[1]
    else:
        for name in ("cuda_stream", "ptr", "handle"):
            if hasattr(item, name):
                found = getattr(item, name)
                break
    found = getattr(found, "value", found)  # Numba keeps a ctypes pointer
    if found is None:  # which is empty for the default stream
        return 0
    if isinstance(found, bool) or not hasattr(found, "__int__") or isinstance(found, str | float):
        raise DataError(
            f"'{type(item).__name__}' is no CUDA stream: give a handle (int), or the stream object of torch, "
            "CuPy, Numba, PyCUDA or cuda.core, such as torch.cuda.current_stream()"
        )
    return int(found)


class Mark:
    """The latest point of a stream that others may have to wait for.

    Args:
        driver: ``pycuda.driver``.
        bindings: with them the mark works on every stream, and nobody waits on the host.
    """

    def __init__(self, driver: Any, bindings: Bindings | None) -> None:  # noqa: ANN401 - pycuda has no types
        self._driver, self._bindings = driver, bindings
        self._event: Any
        if bindings is None:
            self._event = driver.Event(_NO_TIMING)
        else:
            self._event = bindings.call("cuEventCreate", _NO_TIMING)
        self._stream: CudaStream | None = None

    def record(self, stream: CudaStream) -> None:
        """Move the mark behind everything that ``stream`` has been given."""
        self._stream = stream
        if self._bindings is None:
            self._event.record(stream.own)
        else:
            self._bindings.call("cuEventRecord", self._event, stream.handle)

    def hold_back(self, stream: CudaStream) -> None:
        """Let what ``stream`` is given from now on wait for the mark."""
        if self._event is None or self._stream is None or stream.handle == self._stream.handle:
            return
        if self._bindings is not None:
            self._bindings.call("cuStreamWaitEvent", stream.handle, self._event, 0)
        elif stream.own is not None:
            stream.own.wait_for_event(self._event)
        else:  # PyCUDA cannot make the default stream wait
            self._event.synchronize()

    @property
    def is_past(self) -> bool:
        """Return whether the device has got there."""
        if self._event is None or self._stream is None:
            return True
        if self._bindings is None:
            return bool(self._event.query())
        api = self._bindings.api
        return bool(api.cuEventQuery(self._event)[0] == api.CUresult.CUDA_SUCCESS)

    def follows(self, stream: CudaStream) -> bool:
        """Return whether it was recorded on ``stream``."""
        return self._stream is not None and self._stream.handle == stream.handle

    def synchronize(self) -> None:
        """Wait until the device has got there."""
        if self._event is None or self._stream is None:
            return
        if self._bindings is None:
            self._event.synchronize()
        else:
            self._bindings.call("cuEventSynchronize", self._event)

    def free(self) -> None:
        """Give the event back; whoever waits afterwards does not wait."""
        event, self._event = self._event, None
        if event is not None and self._bindings is not None:
            self._bindings.call("cuEventDestroy", event)
