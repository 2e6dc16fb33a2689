"""The matrices of the products that are timed, and what the products must be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from benchmarks.gpu_check.driver import Array, differing
from benchmarks.gpu_check.measure import Timing

SIZES: Final = (4096, 8192)
CHECKED_ROWS: Final = 8


@dataclass(frozen=True)
class Operands:
    """Random signs: ``sets`` matrices a, taking turns, and one b; the product is ``a @ b.T``.

    Args:
        size: rows, columns and fan-in.
    """

    size: int
    sets: int = 3

    @cached_property
    def a_words(self) -> list[Array]:
        """Return each a as words, ``[size, size / 32]``; bit 0 is the lowest index, 1 means +1."""
        return [self._words(seed) for seed in range(self.sets)]

    @cached_property
    def b_words(self) -> Array:
        """Return b likewise: a row for each column of the product."""
        return self._words(99)

    def expected(self, index: int) -> Array:
        """Return the first rows of product ``index``, ``[CHECKED_ROWS, size]``."""
        rows = signs_of(self.a_words[index][:CHECKED_ROWS]).astype(np.float32)
        blocks = [rows @ signs_of(words).astype(np.float32).T for words in np.array_split(self.b_words, 8)]
        return np.concatenate(blocks, axis=1).astype(np.int32)

    def _words(self, seed: int) -> Array:
        rng = np.random.default_rng([self.size, seed])
        return rng.integers(0, 1 << 32, (self.size, self.size // 32), np.uint32)

    def row(self, who: str, kernels: str, stores: str, timing: Timing) -> dict[str, Any]:
        """Return the columns of the report."""
        return {
            "size": self.size,
            "who": who,
            "kernels": kernels,
            "stores": stores,
            "pops": round(2 * self.size**3 / timing.seconds / 1e15, 4),
            **timing.row(),
        }

    def verdict(self, found: Array, index: int, *, is_rounded: bool = False) -> str:
        """Return whether the first rows of a product are right.

        Args:
            found: ``[CHECKED_ROWS, size]``.
            index: which product it is.
            is_rounded: the peer keeps only 8 bits (bf16): it should be within one part in 256.
        """
        expected = self.expected(index)
        result = differing(found, expected)
        if result == "ok" or not is_rounded:
            return result
        is_near = bool((np.abs(found - expected) <= np.abs(expected) / 256).all())
        return "ok but for rounding to bf16" if is_near else result


def signs_of(words: Array) -> Array:
    """Return -1 and +1, ``[rows, 32 * words]`` int8."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    return (bits.astype(np.int8) << 1) - np.int8(1)
