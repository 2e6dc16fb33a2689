"""Arrays of the caller, whatever library they are from, to NumPy and back."""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError
from bnncc.ir.types import Elem, TensorType
from bnncc.runtime.executable import NUMPY_DTYPES

Array = npt.NDArray[Any]

_CPU_DEVICES: Final = (1, 3)  # DLPack: kDLCPU, kDLCUDAHost


def is_torch(item: object) -> bool:
    """Return whether ``item`` is a tensor of a torch that the caller has imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(item, torch.Tensor)


def to_numpy(item: Any) -> Array:  # noqa: ANN401 - any array library's object
    """Return ``item`` as a NumPy array, without a copy where it lies in this process's memory.

    Takes NumPy arrays, torch tensors, whatever has ``__dlpack__`` or ``__array__``, and nested lists.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(item, np.ndarray):
        return item
    if is_torch(item):
        return np.asarray(item.detach().cpu().numpy())
    try:
        if hasattr(item, "__dlpack__") and item.__dlpack_device__()[0] in _CPU_DEVICES:
            return np.from_dlpack(item)
        array = np.asarray(item)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise DataError(f"an input of type '{type(item).__name__}' is not an array: {error}") from error
    if array.dtype == object:
        raise DataError(f"an input of type '{type(item).__name__}' is not an array of numbers")
    return array


def like_caller(result: Array, *, as_torch: bool) -> Any:  # noqa: ANN401 - NumPy or torch
    """Return ``result`` as a torch tensor if that is what the caller gave, else as it is."""
    return sys.modules["torch"].from_numpy(np.array(result)) if as_torch else result


def fill(target: Any, result: Array, name: str) -> None:  # noqa: ANN401 - any array library's object
    """Copy ``result`` into the caller's array ``target`` for the output ``name``.

    Raises:
        DataError: it is not an array of the host, or of another shape or type.
    """
    array = to_numpy(target)
    if array.shape != result.shape or array.dtype != result.dtype:
        raise DataError(
            f"the array for output '{name}' is {array.dtype}{_shown(array.shape)}; "
            f"it should be {result.dtype}{_shown(result.shape)}"
        )
    if not array.flags.writeable or not np.shares_memory(array, to_numpy(target)):
        raise DataError(f"the array for output '{name}' cannot be written to: give a NumPy array")
    array[...] = result


def as_element(array: Array, name: str, wanted: TensorType) -> Array:
    """Return ``array`` in the element type of the input ``name``; no value is changed.

    Raises:
        DataError: the shape is wrong, or a value does not fit.
    """
    shape = tuple(array.shape)
    if shape[1:] != wanted.shape:
        raise DataError(
            f"the input '{name}' is {wanted}: give {_shown(('N', *wanted.shape))} or {_shown(wanted.shape)}; "
            f"this array is {_shown(shape)}"
        )
    dtype: np.dtype[Any] = NUMPY_DTYPES[wanted.elem.value]
    if array.dtype != dtype:
        array = _converted(array, name, wanted, dtype)
    if wanted.elem is Elem.SIGN and not np.isin(array, (-1, 1)).all():
        raise DataError(f"the input '{name}' holds signs: every value is -1 or +1")
    if wanted.elem is Elem.F32 and not np.isfinite(array).all():
        raise DataError(f"the input '{name}' holds a value that is not a finite number")
    return np.ascontiguousarray(array)


def fit_images(images: Array, wanted: TensorType, network: str) -> Array:
    """Return ``images`` of a data set in the shape of a network input; only the grouping of axes may differ.

    Shapes:
        images: ``[N, C, H, W]``, u8 or i8.

    Raises:
        DataError: the network reads another element or another size.
    """
    shape = tuple(images.shape[1:])
    is_flat = len(wanted.shape) == 1
    squeezed = tuple(axis for axis in shape if axis > 1)
    same_grid = is_flat or squeezed == tuple(axis for axis in wanted.shape if axis > 1)
    element = "i8" if images.dtype == np.int8 else "u8"
    if wanted.elem.value != element or int(np.prod(shape)) != wanted.count or not same_grid:
        raise DataError(
            f"the network '{network}' reads {wanted}; the images of this data set are {element}{list(shape)}"
        )
    return np.ascontiguousarray(images).reshape(len(images), *wanted.shape)


def _converted(array: Array, name: str, wanted: TensorType, dtype: np.dtype[Any]) -> Array:
    if array.dtype.kind not in "biuf":
        raise DataError(f"the input '{name}' is {wanted}; this array is {array.dtype}")
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    # NumPy compares in a type that holds both: a cast that wraps or rounds is a mistake of the caller.
    if not np.array_equal(converted, array):
        hint = " The network normalizes pixels itself: give them as 0..255." if wanted.elem is Elem.U8 else ""
        raise DataError(
            f"the input '{name}' is {wanted}; this {array.dtype} array holds values that are not.{hint}"
        )
    return converted


def _shown(shape: tuple[object, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
