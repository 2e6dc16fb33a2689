"""Memory of a device and page-locked memory of the host."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.runtime.cuda.context import PrimaryContext
from bnncc.runtime.cuda.errors import OutOfDeviceMemory

LEAST_BYTES: Final = 64
_BLOCK_BYTES: Final = 512
_KEPT_BLOCKS: Final = 16


def allocate(driver: Any, size_bytes: int, purpose: str) -> Any:  # noqa: ANN401 - pycuda has no types
    """Return PyCUDA's allocation of at least ``size_bytes``.

    Raises:
        OutOfDeviceMemory: there is no room.
    """
    try:
        return driver.mem_alloc(max(LEAST_BYTES, size_bytes))
    except driver.MemoryError as error:
        raise OutOfDeviceMemory(purpose, size_bytes, *driver.mem_get_info()) from error


class Growing:
    """Device memory that is allocated again where a larger batch needs it.

    Args:
        driver: ``pycuda.driver``.
        purpose: for the message where there is no room.
    """

    def __init__(self, driver: Any, purpose: str) -> None:  # noqa: ANN401 - pycuda has no types
        self._driver, self._purpose = driver, purpose
        self._allocation: Any = None
        self.size_bytes = 0

    def address(self, size_bytes: int) -> int:
        """Return the start of at least ``size_bytes``."""
        if size_bytes > self.size_bytes or self._allocation is None:
            self.free()
            self._allocation = allocate(self._driver, size_bytes, self._purpose)
            self.size_bytes = size_bytes
        return int(self._allocation)

    def free(self) -> None:
        """Give the memory back; the driver waits for what still uses it."""
        allocation, self._allocation, self.size_bytes = self._allocation, None, 0
        if allocation is not None:
            allocation.free()


class Pinned:
    """Page-locked memory of the host: copies from and to it do not stop the caller."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - pycuda has no types
        self._driver = driver
        self._array: Any = None

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return an array on the start of it."""
        size_bytes = int(np.prod(shape)) * dtype.itemsize
        if self._array is None or self._array.nbytes < size_bytes:
            self.free()
            self._array = self._driver.pagelocked_empty(max(LEAST_BYTES, size_bytes), np.uint8)
        view: npt.NDArray[Any] = self._array[:size_bytes].view(dtype).reshape(shape)
        return view

    def free(self) -> None:
        """Give it back."""
        array, self._array = self._array, None
        if array is not None:
            array.base.free()


@dataclass(slots=True, kw_only=True)
class Block:
    """Device memory of one array.

    Args:
        allocation: PyCUDA's.
        size_bytes: its length.
        stream: the handle of the stream whose order protects it.
        is_shared: whether other streams may still use it when its array is gone.
    """

    allocation: Any
    size_bytes: int
    stream: int
    is_shared: bool = False

    @property
    def address(self) -> int:
        """Return where it starts."""
        return int(self.allocation)


class BlockPool:
    """Device memory for results: a block whose array is gone is used again on the same stream.

    Getting memory from the driver takes long, and giving it back waits for the device. A block that only one
    stream has seen needs neither: the order of the stream protects it.
    """

    def __init__(self, context: PrimaryContext) -> None:
        self._context = context
        # A finalizer can run in the middle of any statement of the same thread.
        self._lock = threading.RLock()
        self._idle: list[Block] = []
        self._is_closed = False

    def take(self, size_bytes: int, stream: int) -> Block:
        """Return memory for an array that is written on ``stream``; the context is current.

        Raises:
            OutOfDeviceMemory: there is no room.
        """
        rounded = max(1, -(-size_bytes // _BLOCK_BYTES)) * _BLOCK_BYTES
        with self._lock:
            found = next((b for b in self._idle if (b.size_bytes, b.stream) == (rounded, stream)), None)
            if found is not None:
                self._idle.remove(found)
        if found is None:
            try:
                allocation = allocate(self._context.driver, rounded, "an output")
            except OutOfDeviceMemory:
                if not self._idle:
                    raise
                self._free_idle()
                allocation = allocate(self._context.driver, rounded, "an output")
            found = Block(allocation=allocation, size_bytes=rounded, stream=stream)
        self._context.hold()
        return found

    def give_back(self, block: Block) -> None:
        """Take a block whose array is gone; from any thread, also when the pool is closed."""
        surplus: Block | None = block
        with self._lock:
            if not self._is_closed and not block.is_shared:
                self._idle.append(block)
                surplus = self._idle.pop(0) if len(self._idle) > _KEPT_BLOCKS else None
        if surplus is not None:
            with self._context.current():
                surplus.allocation.free()
        self._context.let_go()

    def close(self) -> None:
        """Free what no array uses; the rest goes with its arrays."""
        with self._lock:
            self._is_closed = True
        self._free_idle()

    def _free_idle(self) -> None:
        with self._lock:
            blocks, self._idle = self._idle, []
        with self._context.current():
            for block in blocks:
                block.allocation.free()
