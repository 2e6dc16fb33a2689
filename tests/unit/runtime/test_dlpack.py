"""DLPack capsules, against NumPy and torch on the host."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

from bnncc.diagnostics import DataError
from bnncc.runtime import dlpack


class Owner:
    """An array of ours."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **_):
        return dlpack.export_capsule(
            self,
            address=self.array.ctypes.data,
            shape=self.array.shape,
            dtype=self.array.dtype,
            device=self.__dlpack_device__(),
        )

    def __dlpack_device__(self):
        return (dlpack.CPU, 0)


def read_by_torch(item):
    return pytest.importorskip("torch").from_dlpack(item)


@pytest.mark.parametrize("read", [np.from_dlpack, read_by_torch])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("shape", [(3, 4), (1,), (0, 5), (), (2, 1, 3)])
def test_others_read_ours_and_keep_it_alive(read, dtype, shape):
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    owner = Owner(array)
    alive = weakref.ref(owner)
    theirs = read(owner)
    del owner
    gc.collect()
    assert alive() is not None
    np.testing.assert_array_equal(np.asarray(theirs), array)
    del theirs
    gc.collect()
    assert alive() is None


def test_a_capsule_nobody_reads_lets_go():
    owner = Owner(np.zeros(3, np.float32))
    alive = weakref.ref(owner)
    capsule = owner.__dlpack__()
    del owner
    assert alive() is not None
    del capsule
    gc.collect()
    assert alive() is None


def test_we_read_others_and_let_go():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    before = sys.getrefcount(array)
    imported = dlpack.import_capsule(array.__dlpack__())
    assert (imported.address, imported.shape, imported.dtype) == (array.ctypes.data, (2, 3), array.dtype)
    assert imported.device == (dlpack.CPU, 0)
    assert imported.is_contiguous
    assert sys.getrefcount(array) > before
    del imported
    assert sys.getrefcount(array) == before


def test_offsets_and_strides():
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    assert dlpack.import_capsule(array[1:].__dlpack__()).address == array[1:].ctypes.data
    assert not dlpack.import_capsule(array.T.__dlpack__()).is_contiguous
    assert not dlpack.import_capsule(array[:, ::2].__dlpack__()).is_contiguous
    torch = pytest.importorskip("torch")
    assert dlpack.import_capsule(torch.zeros(3, 1, 2)[:, :, :1].__dlpack__()).strides == (2, 2, 1)


def test_a_capsule_is_read_once():
    capsule = np.zeros(3).__dlpack__()
    kept = dlpack.import_capsule(capsule)
    with pytest.raises(DataError, match="used before"):
        dlpack.import_capsule(capsule)
    with pytest.raises(DataError, match="no DLPack capsule"):
        dlpack.import_capsule(object())
    assert kept.shape == (3,)


def test_elements_that_numpy_lacks():
    torch = pytest.importorskip("torch")
    with pytest.raises(DataError, match="no type for"):
        dlpack.import_capsule(torch.zeros(2, dtype=torch.bfloat16).__dlpack__())


@pytest.mark.parametrize(
    ("shape", "strides", "expected"),
    [
        ((2, 3), (3, 1), True),
        ((1, 3), (99, 1), True),
        ((0, 3), (7, 7), True),
        ((2, 3), (4, 1), False),
        ((2, 3), (1, 2), False),
        ((), (), True),
    ],
)
def test_what_is_contiguous(shape, strides, expected):
    assert dlpack.is_contiguous(shape, strides) is expected
    assert dlpack.is_contiguous(shape, tuple(4 * stride for stride in strides), 4) is expected
