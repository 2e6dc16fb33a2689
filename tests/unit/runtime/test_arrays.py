"""Arrays of the caller: converted only where no value changes."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.diagnostics import DataError
from bnncc.ir.types import Elem, TensorType
from bnncc.runtime.arrays import as_element, is_torch, like_caller, to_numpy

U8 = TensorType(Elem.U8, (2, 3))
I8 = TensorType(Elem.I8, (2,))
SIGN = TensorType(Elem.SIGN, (2,))
F32 = TensorType(Elem.F32, (2,))


class OnlyDlpack:
    """An array of a library that has nothing but DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, np.int16])
def test_pixels_of_any_type_with_the_same_values(dtype) -> None:
    array = np.arange(12).reshape(2, 2, 3).astype(dtype)
    result = as_element(array, "x", U8)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.full((1, 2, 3), 0.5), U8),
        (np.full((1, 2, 3), 256), U8),
        (np.full((1, 2, 3), -1, np.int8), U8),
        (np.full((1, 2, 3), np.nan), U8),
        (np.full((1, 2), 200, np.uint8), I8),
        (np.full((1, 2), 128), I8),
        (np.full((1, 2), 0), SIGN),
        (np.full((1, 2), 0.1), F32),
        (np.full((1, 2), np.nan, np.float32), F32),
        (np.full((1, 2), np.inf, np.float32), F32),
        (np.full((1, 2), "a"), F32),
        (np.full((1, 2), 1j), F32),
        (np.full((1, 3), 1), F32),
        (np.full((), 1), F32),
    ],
)
def test_values_that_would_change_are_refused(array: np.ndarray, wanted: TensorType) -> None:
    with pytest.raises(DataError, match="input 'x'"):
        as_element(array, "x", wanted)


def test_numpy_is_not_copied() -> None:
    array = np.zeros((4, 2, 3), np.uint8)
    assert to_numpy(array) is array
    assert np.shares_memory(as_element(array, "x", U8), array)


def test_dlpack_and_lists() -> None:
    array = np.arange(6, dtype=np.uint8)
    np.testing.assert_array_equal(to_numpy(OnlyDlpack(array)), array)
    np.testing.assert_array_equal(to_numpy([[1, 2], [3, 4]]), [[1, 2], [3, 4]])


@pytest.mark.parametrize("item", [object(), [[1], [1, 2]], None])
def test_what_is_no_array_is_refused(item: object) -> None:
    with pytest.raises(DataError, match="not an array"):
        to_numpy(item)


def test_torch_in_torch_out() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(6, dtype=torch.uint8)
    assert is_torch(tensor)
    assert not is_torch(np.zeros(1))
    np.testing.assert_array_equal(to_numpy(tensor), np.arange(6))
    result = like_caller(np.arange(3, dtype=np.float32), as_torch=True)
    assert torch.equal(result, torch.arange(3, dtype=torch.float32))
