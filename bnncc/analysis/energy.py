"""How much energy a layer takes in 45 nm: an estimate from published numbers, no measurement.

Source: Horowitz 2014, "Computing's energy problem (and what we can do about it)", ISSCC, figure 1.1.9:
picojoules of one operation. Courbariaux, Hubara et al. 2016, tables 2 and 3, argue with the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Numbers(Enum):
    """What a network computes with."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BITS = "bits"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Price:
    """Picojoules of one product and its addition, and bits of a weight."""

    mac_pj: float
    weight_bits: int


ADD_INT32_PJ: Final = 0.1
READ_64_BITS_PJ: Final = 100.0
"""Of a cache of 1 MiB; 20 of one of 32 KiB, 1300 to 2600 of DRAM."""

BIT_MAC_PJ: Final = 6 * ADD_INT32_PJ / 32
"""Six integer operations for 32 products: one xor, four steps of a population count, one addition."""

_PRICES: Final = {
    Numbers.FLOAT32: _Price(mac_pj=3.7 + 0.9, weight_bits=32),
    Numbers.FLOAT16: _Price(mac_pj=1.1 + 0.4, weight_bits=16),
    Numbers.INT8: _Price(mac_pj=0.2 + ADD_INT32_PJ, weight_bits=8),
    Numbers.BITS: _Price(mac_pj=BIT_MAC_PJ, weight_bits=1),
}


def arithmetic_uj(numbers: Numbers, macs: int, input_bits: int = 1) -> float:
    """Return microjoules of ``macs`` products; bits times pixels are one plane of products a bit."""
    planes = input_bits if numbers is Numbers.BITS else 1
    return macs * _PRICES[numbers].mac_pj * planes * 1e-6


def reading_uj(numbers: Numbers, weights: int) -> float:
    """Return microjoules of reading each of ``weights`` once, from a cache of 1 MiB."""
    return weights * _PRICES[numbers].weight_bits / 64 * READ_64_BITS_PJ * 1e-6


def weight_bytes(numbers: Numbers, weights: int) -> int:
    """Return the bytes of ``weights`` weights."""
    return -(-weights * _PRICES[numbers].weight_bits // 8)
