"""Signs of integer layers, 32 inputs of one output in a word."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.ir.packing import pack_quad_bits, unpack_quad_bits


@pytest.mark.parametrize(("outputs", "fan_in"), [(1, 1), (33, 27), (64, 32), (40, 257)])
def test_round_trip(outputs, fan_in):
    rng = np.random.default_rng(fan_in)
    signs = rng.choice(np.array([-1, 1], np.int8), (outputs, fan_in, 1, 1))
    words = pack_quad_bits(signs, 32)
    assert words.shape == (-(-outputs // 32), -(-fan_in // 32), 32)
    np.testing.assert_array_equal(unpack_quad_bits(words, outputs, fan_in), signs.reshape(outputs, fan_in))


def test_where_a_sign_lies():
    """Input 4 q + b is bit q of byte b."""
    signs = np.full((2, 64, 1, 1), -1, np.int8)
    signs[1, 32 + 4 * 5 + 3] = 1
    words = pack_quad_bits(signs, 32)
    assert words[0, 1, 1] == 1 << (8 * 3 + 5)
    assert np.count_nonzero(words) == 1
