"""The weights of a network as a safetensors file in which a binary weight really takes one bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError
from bnncc.ir.packing import pack_words, unpack_words
from bnncc.ir.types import ConstRef, Elem

Array: TypeAlias = npt.NDArray[Any]

# One key only: safetensors does not keep the order of several, and the file would differ from run to run.
_METADATA: Final = "bnncc.logical"
_STORED_DTYPES: Final = {
    Elem.BOOL: np.dtype(np.bool_),
    Elem.U8: np.dtype(np.uint8),
    Elem.I8: np.dtype(np.int8),
    Elem.I32: np.dtype(np.int32),
    Elem.I64: np.dtype(np.int64),
    Elem.F32: np.dtype(np.float32),
}


def encode_weights(weights: Mapping[ConstRef, Array]) -> bytes:
    """Return ``weights`` as a safetensors file.

    Signs ``[O, ...]`` are stored as ``u32[O, ceil(K / 32)]``, ``K`` being the product of the other axes:
    bit 0 first, 1 means +1, unused bits 0. Element and logical shape are in the metadata, under
    ``bnncc.logical``.
    """
    from safetensors.numpy import save

    tensors: dict[str, Array] = {}
    logical: dict[str, dict[str, object]] = {}
    for ref, array in weights.items():
        shape = ref.type.shape
        if ref.type.elem is Elem.SIGN:
            rows = shape[0] if shape else 1
            tensors[ref.name] = np.ascontiguousarray(pack_words(array.reshape(rows, -1)))
        else:
            tensors[ref.name] = np.ascontiguousarray(array, dtype=_STORED_DTYPES[ref.type.elem])
        logical[ref.name] = {"elem": ref.type.elem.value, "shape": list(shape)}
    return bytes(save(tensors, metadata={_METADATA: json.dumps(logical, sort_keys=True)}))


def decode_weights(raw: bytes, label: str) -> dict[str, Array]:
    """Return the arrays of a safetensors file by name; packed signs come back as int8 -1/+1.

    A file without our metadata, e.g. a checkpoint, is returned as it is.

    Args:
        raw: the whole file.
        label: what to call it in errors.

    Raises:
        DataError: it is not a safetensors file, or a tensor does not have the form its metadata says.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        stored: dict[str, Array] = load(raw)
        logical = _metadata(raw)
    # safetensors raises these for damaged headers and for element types NumPy does not have.
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise DataError(f"'{label}' is not a readable safetensors file: {error}") from error
    return {name: _logical(name, array, logical.get(name), label) for name, array in stored.items()}


def _metadata(raw: bytes) -> Mapping[str, object]:
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    found = json.loads(header.get("__metadata__", {}).get(_METADATA, "{}"))
    return found if isinstance(found, dict) else {}


def _logical(name: str, array: Array, said: object, label: str) -> Array:
    if not isinstance(said, dict) or said.get("elem") != Elem.SIGN.value:
        return array
    shape = said.get("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) and 0 < n < 1 << 31 for n in shape):
        raise DataError(f"'{label}': the tensor '{name}' has no usable logical shape")
    rows = shape[0] if shape else 1
    length = 1
    for axis in shape[1:]:
        length *= axis
    if array.dtype != np.uint32 or array.shape != (rows, -(-length // 32)):
        raise DataError(
            f"'{label}': the tensor '{name}' is {array.dtype}{list(array.shape)}, "
            f"which is not {rows} rows of {length} bits"
        )
    return unpack_words(array, length).reshape(shape)
