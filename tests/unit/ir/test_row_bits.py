"""Weights of integer layers as bits: both directions, every tail."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.ir.packing import pack_row_bits, unpack_row_bits


@pytest.mark.parametrize("outputs", [1, 15, 16, 17, 31, 32, 33, 70])
@pytest.mark.parametrize("fan_in", [1, 5, 14, 15, 16, 30, 31, 100])
def test_bits_come_back(outputs, fan_in):
    signs = np.random.default_rng(outputs).choice(np.array([-1, 1], np.int8), (outputs, fan_in, 1, 1))
    words = pack_row_bits(signs)
    assert words.shape == (-(-outputs // 32), -(-fan_in // 15), 16)
    assert not np.any(words & 0x80008000)
    np.testing.assert_array_equal(unpack_row_bits(words, outputs, fan_in), signs.reshape(outputs, fan_in))


def test_places_of_bits():
    signs = np.full((32, 16, 1, 1), -1, np.int8)
    signs[3, 2] = signs[20, 15] = 1
    words = pack_row_bits(signs)
    assert words[0, 0, 3] == 1 << 2
    assert words[0, 1, 4] == 1 << 16
    assert np.count_nonzero(words) == 2
