"""NumKong's `hammings_packed`: distances of packed rows, so the sums of a product of binary matrices."""

from __future__ import annotations

import numpy as np

from benchmarks.cpu.engine import AnyCase, Engine, InProcess, Unavailable
from benchmarks.cpu.ours import Case
from benchmarks.cpu.plain import input_words, plain_weights

PIP = "pip install numkong"


def _load(case: AnyCase, threads: int) -> InProcess:
    if not isinstance(case, Case) or case.window is not None:
        raise Unavailable("products of matrices only")
    if threads > 1:
        raise Unavailable("one thread (its caller may split the rows)")
    import numkong

    bits = np.packbits(plain_weights(case)[0] > 0, axis=1, bitorder="little")
    x, packed = input_words(case), numkong.hammings_pack(bits, "uint1")
    out = numkong.hammings_packed(x, packed)
    fan_in = int(np.prod(case.shape))
    return InProcess(
        run=lambda: numkong.hammings_packed(x, packed, out=out),
        sums=lambda: fan_in - 2 * np.asarray(out).astype(np.int64),
    )


def engines() -> tuple[Engine, ...]:
    return (Engine("NumKong hammings_packed", "binary", PIP, _load),)
