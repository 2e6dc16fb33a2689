"""Device memory: a sparse file that this process and the children that run kernels both map."""

from __future__ import annotations

import mmap
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import PlatformError

BASE_ADDRESS: Final = 0x2000_0000_0000
"""Device address of the first byte, the same in every process."""
_ALIGN: Final = 256
_GAP: Final = 256


class DeviceMemory:
    """Allocates buffers; fresh ones hold junk (the same on every run).

    Buffers are 256-byte aligned and never adjacent; kernels may touch nothing between them.
    One launch uses one memory, any number of modules may share it.

    Args:
        capacity_bytes: upper limit of all buffers together; pages are taken only when touched.
        seed: of the junk.
    """

    def __init__(self, capacity_bytes: int = 8 << 30, *, seed: int = 0) -> None:
        self.capacity_bytes = -(-capacity_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.version = 0
        self._junk = np.random.default_rng(seed).integers(0, 256, 1 << 16, dtype=np.uint8) | np.uint8(0x80)
        # Behind the memory itself: one bit for each byte that was written, and a spare page.
        length = self.capacity_bytes + self.capacity_bytes // 8 + mmap.PAGESIZE
        self._file = _anonymous_file(length)
        self._map = mmap.mmap(self._file, length)
        everything: npt.NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self._bytes = everything[: self.capacity_bytes]
        self._written = everything[self.capacity_bytes :]
        self._live: dict[int, Buffer] = {}
        self._free: list[tuple[int, int]] = [(0, self.capacity_bytes)]

    @property
    def file(self) -> int:
        """Return the file descriptor that others map."""
        return self._file

    @property
    def ranges(self) -> list[list[int]]:
        """Return ``[begin, end)`` of every live buffer, as device addresses."""
        return [[buffer.address, buffer.address + buffer.size_bytes] for buffer in self._live.values()]

    def alloc(self, size_bytes: int) -> Buffer:
        """Return a fresh buffer of junk.

        Raises:
            PlatformError: the capacity is used up.
        """
        need = -(-max(1, size_bytes) // _ALIGN) * _ALIGN + _GAP
        for index, (start, length) in enumerate(self._free):
            if length >= need:
                self._free[index] = (start + need, length - need)
                buffer = Buffer(memory=self, offset=start, size_bytes=size_bytes)
                self._live[start] = buffer
                self.version += 1
                self.poison(start, size_bytes)
                return buffer
        raise PlatformError(f"the emulated device has no {size_bytes} bytes left of {self.capacity_bytes}")

    def upload(self, array: npt.NDArray[Any]) -> Buffer:
        """Return a fresh buffer that holds the elements of ``array`` in C order."""
        content = np.ascontiguousarray(array)
        buffer = self.alloc(content.nbytes)
        buffer.upload(content)
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Give ``buffer`` back; using it afterwards is reported."""
        del self._live[buffer.offset]
        self.version += 1
        length = -(-max(1, buffer.size_bytes) // _ALIGN) * _ALIGN + _GAP
        merged: list[tuple[int, int]] = []
        for start, size in sorted([*self._free, (buffer.offset, length)]):
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((start, size))
        self._free = merged

    def bytes_at(self, offset: int, size_bytes: int) -> npt.NDArray[np.uint8]:
        """Return a view of the memory."""
        return self._bytes[offset : offset + size_bytes]

    def note_written(self, offset: int, size_bytes: int, *, is_written: bool = True) -> None:
        """Note that these bytes were written by the host, or that they hold junk."""
        first, end = offset, offset + size_bytes
        while first < end and first % 8:
            self._note_bit(first, is_written=is_written)
            first += 1
        while end > first and end % 8:
            end -= 1
            self._note_bit(end, is_written=is_written)
        self._written[first // 8 : end // 8] = 0xFF if is_written else 0

    def _note_bit(self, offset: int, *, is_written: bool) -> None:
        bit = np.uint8(1 << offset % 8)
        old = self._written[offset // 8]
        self._written[offset // 8] = old | bit if is_written else old & ~bit

    def poison(self, offset: int, size_bytes: int) -> None:
        """Fill these bytes with junk that counts as never written."""
        self.note_written(offset, size_bytes, is_written=False)
        target = self.bytes_at(offset, size_bytes)
        whole = size_bytes // self._junk.size * self._junk.size
        target[:whole].reshape(-1, self._junk.size)[:] = self._junk
        target[whole:] = self._junk[: size_bytes - whole]

    def is_live(self, buffer: Buffer) -> bool:
        """Return whether ``buffer`` was not freed."""
        return self._live.get(buffer.offset) is buffer

    def close(self) -> None:
        """Give everything back to the operating system."""
        if self._file < 0:
            return
        self._bytes = self._written = np.empty(0, np.uint8)
        with suppress(BufferError):  # a view of the caller keeps the mapping alive
            self._map.close()
        os.close(self._file)
        self._file = -1

    def __enter__(self) -> DeviceMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            self.close()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Buffer:
    """A piece of device memory."""

    memory: DeviceMemory
    offset: int
    size_bytes: int

    @property
    def address(self) -> int:
        """Return the device address of its first byte."""
        return BASE_ADDRESS + self.offset

    @property
    def is_live(self) -> bool:
        """Return whether it was not freed."""
        return self.memory.is_live(self)

    def __add__(self, offset_bytes: int) -> Pointer:
        """Return the address ``offset_bytes`` behind the first byte."""
        return Pointer(buffer=self, offset_bytes=offset_bytes)

    def upload(self, array: npt.NDArray[Any], offset_bytes: int = 0) -> None:
        """Copy the elements of ``array`` into it, from ``offset_bytes`` on."""
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._view(offset_bytes, raw.size)[:] = raw
        self.memory.note_written(self.offset + offset_bytes, raw.size)

    def poison(self, offset_bytes: int, size_bytes: int) -> None:
        """Make a part of it junk again; a kernel that reads it before it is written is reported."""
        self._view(offset_bytes, size_bytes)
        self.memory.poison(self.offset + offset_bytes, size_bytes)

    def download(
        self, dtype: npt.DTypeLike, shape: int | tuple[int, ...], offset_bytes: int = 0
    ) -> npt.NDArray[Any]:
        """Return a copy of its content as an array."""
        kind = np.dtype(dtype)
        count = int(np.prod(shape))
        return self._view(offset_bytes, count * kind.itemsize).copy().view(kind).reshape(shape)

    def _view(self, offset_bytes: int, size_bytes: int) -> npt.NDArray[np.uint8]:
        if not self.is_live or offset_bytes < 0 or offset_bytes + size_bytes > self.size_bytes:
            raise IndexError(
                f"bytes {offset_bytes} to {offset_bytes + size_bytes} of a buffer of {self.size_bytes}"
            )
        return self.memory.bytes_at(self.offset + offset_bytes, size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """An address inside (or, on purpose, outside) a buffer."""

    buffer: Buffer
    offset_bytes: int

    @property
    def memory(self) -> DeviceMemory:
        """Return where it points."""
        return self.buffer.memory

    @property
    def address(self) -> int:
        """Return the device address."""
        return self.buffer.address + self.offset_bytes

    @property
    def is_live(self) -> bool:
        """Return whether its buffer was not freed."""
        return self.buffer.is_live

    def __add__(self, offset_bytes: int) -> Pointer:
        return Pointer(buffer=self.buffer, offset_bytes=self.offset_bytes + offset_bytes)


def _anonymous_file(size_bytes: int) -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("bnncc-emulator")
    else:
        file, path = tempfile.mkstemp(prefix="bnncc-emulator-")
        os.unlink(path)  # noqa: PTH108  -- the descriptor lives on; there is nothing else to keep
    os.ftruncate(file, size_bytes)
    return file
