"""faiss's flat binary index: the nearest row by Hamming distance, so a product and its best column."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.cpu.engine import AnyCase, Engine, InProcess, Unavailable
from benchmarks.cpu.ours import Case
from benchmarks.cpu.plain import input_words, plain_weights

PIP = "pip install faiss-cpu"


def _load(case: AnyCase, threads: int) -> InProcess:
    if not isinstance(case, Case) or case.window is not None:
        raise Unavailable("products of matrices only")
    import faiss

    x = input_words(case)
    index = faiss.IndexBinaryFlat(8 * x.shape[1])
    index.add(np.packbits(plain_weights(case)[0] > 0, axis=1, bitorder="little"))
    results: list[Any] = [None]

    def run() -> None:
        results[0] = index.search(x, 1)

    fan_in = int(np.prod(case.shape))
    return InProcess(
        run=run,
        before=partial(faiss.omp_set_num_threads, threads),
        sums=lambda: fan_in - 2 * results[0][0].astype(np.int64),
    )


def engines() -> tuple[Engine, ...]:
    return (Engine("faiss IndexBinaryFlat k=1", "binary", PIP, _load),)
