"""DLPack without a library: capsules of other libraries read, capsules for them made.

Source: the DLPack specification and its Python page (unversioned tensors, which every library understands).
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bnncc.diagnostics import DataError

CPU: Final = 1
CUDA: Final = 2
CUDA_MANAGED: Final = 13

_FRESH: Final = b"dltensor"
_USED: Final = b"used_dltensor"
_KINDS: Final = {0: "i", 1: "u", 2: "f", 6: "b"}
_CODES: Final = {kind: code for code, kind in _KINDS.items()}


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("owner", ctypes.c_void_p), ("deleter", _DELETER))


_API = ctypes.pythonapi
_NEW = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", _API)
)
# By address: an object that is being destroyed must not get a new reference.
_IS_VALID = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _API))
_POINTER_OF = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _API)
)
_SET_NAME = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", _API))
_KEEP = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", _API))
_DROP = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("Py_DecRef", _API))


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Imported:
    """Memory of another library; it stays alive as long as this object.

    Args:
        address: of the first element.
        shape: of the array.
        dtype: of an element.
        strides: in elements; None: contiguous, the last axis fastest.
        device: kind and index, as DLPack counts them.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...] | None
    device: tuple[int, int]

    @property
    def is_contiguous(self) -> bool:
        """Return whether the elements lie one after the other, the last axis fastest."""
        return self.strides is None or is_contiguous(self.shape, self.strides)


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], step: int = 1) -> bool:
    """Return whether ``strides`` are those of a contiguous array; ``step`` is that of the last axis."""
    if 0 in shape:
        return True
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return True


def import_capsule(capsule: object) -> Imported:
    """Return what ``capsule`` describes; it is used up.

    Raises:
        DataError: it is no fresh DLPack capsule, or its elements are of an unusual kind.
    """
    if not _IS_VALID(id(capsule), _FRESH):
        raise DataError("this is no DLPack capsule, or it was used before")
    address = _POINTER_OF(id(capsule), _FRESH)
    managed = _Managed.from_address(address)
    tensor = managed.tensor
    kind = _KINDS.get(tensor.dtype.code)
    if kind is None or tensor.dtype.lanes != 1 or tensor.dtype.bits % 8:
        raise DataError("a DLPack tensor has elements that NumPy has no type for")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else None
    imported = Imported(
        address=(tensor.data or 0) + tensor.byte_offset,
        shape=shape,
        dtype=np.dtype(f"{kind}{tensor.dtype.bits // 8}"),
        strides=strides,
        device=(tensor.device.kind, tensor.device.index),
    )
    _SET_NAME(capsule, _USED)
    if managed.deleter:
        weakref.finalize(imported, managed.deleter, address).atexit = False
    return imported


class _Exported:
    """What a capsule points at, and the object that owns the memory."""

    def __init__(self, owner: object, shape: tuple[int, ...]) -> None:
        self.owner = owner
        self.shape = (ctypes.c_int64 * max(1, len(shape)))(*shape)
        self.managed = _Managed()


def export_capsule(
    owner: object, *, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], device: tuple[int, int]
) -> object:
    """Return a capsule for contiguous memory, which keeps ``owner`` alive until its reader is done."""
    exported = _Exported(owner, shape)
    tensor = exported.managed.tensor
    tensor.data = address
    tensor.device = _Device(*device)
    tensor.ndim = len(shape)
    tensor.dtype = _DataType(_CODES[dtype.kind], 8 * dtype.itemsize, 1)
    tensor.shape = ctypes.cast(exported.shape, ctypes.POINTER(ctypes.c_int64))
    exported.managed.owner = id(exported)
    exported.managed.deleter = _DROP_EXPORTED
    _KEEP(exported)
    return _NEW(ctypes.addressof(exported.managed), _FRESH, ctypes.cast(_DROP_UNREAD, ctypes.c_void_p))


def _drop_exported(managed: int) -> None:
    """Let go what a reader has finished with."""
    _DROP(_Managed.from_address(managed).owner)


def _drop_unread(capsule: int) -> None:
    """Let go what nobody has read: the destructor of a capsule."""
    if _IS_VALID(capsule, _FRESH):
        _drop_exported(_POINTER_OF(capsule, _FRESH))


# The C side keeps the pointers only.
_DROP_EXPORTED: Final = _DELETER(_drop_exported)
_DROP_UNREAD: Final = _DELETER(_drop_unread)
