"""Whether the tensor cores take matrices whose tiles overlap, and what follows for the choice of a tier."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Array, Rows, Shape, differing

VECTORS: Final = 400
# first, next_bits, next_rows, in vectors of 128 bits
APART: Final = ((0, 64, 8), (0, 8, 16), (16, 128, 8))
OVERLAPPING: Final = (
    (0, 1, 10),  # neighbours on the right: the tiles share all but one pixel
    (11, 1, 10),
    (3, 1, 12),
    (0, 10, 10),  # the row below: the second half is the next tile's first
    (5, 8, 10),  # the last column and the next row
    (0, 0, 10),  # both halves the same pixel
    (7, 1, 34),
)
TAKES_THEM: Final = "overlapping matrices work: `--tier wgmma` may be used"
REFUSES: Final = (
    "OVERLAPPING MATRICES DO NOT WORK HERE: compile with `--tier wgmma-registers` (or bmma), never `wgmma`, "
    "and let tier `auto` choose it; results of tier wgmma on this device are wrong"
)


def check_descriptors(machine: Machine) -> Rows:
    """Compare products of matrices, tiles apart or overlapping, with NumPy; the last row is advice."""
    if machine.arch != "sm_90a":
        yield {"case": "descriptors", "result": "not run: only sm_90a has wgmma b1"}
        return
    kernel = machine.kernels("descriptors", "overlapping")["overlapping"]
    driver, rng = machine.driver, np.random.default_rng(16)
    results: dict[str, list[str]] = {"apart": [], "overlapping": []}
    with driver.buffers(x=VECTORS * 16, weight=16 * 16, y=64 * 8 * 4) as buffers:
        for kind, places in (("apart", APART), ("overlapping", OVERLAPPING)):
            for place in places:
                x = rng.integers(0, 1 << 32, (VECTORS, 4), np.uint32)
                weight = rng.integers(0, 1 << 32, (16, 4), np.uint32)
                driver.upload(buffers["x"], x)
                driver.upload(buffers["weight"], weight)
                shape = Shape(grid=(1,), block=128, shared_bytes=VECTORS * 16)
                kernel.launch(shape, [buffers["x"], buffers["weight"], buffers["y"], VECTORS, *place])
                found = driver.download(buffers["y"], np.int32, 512)
                results[kind].append(differing(found, expected_sums(x, weight, place)))
                first, next_bits, next_rows = place
                row = {"case": kind, "first": first, "next_bits": next_bits, "next_rows": next_rows}
                yield {**row, "result": results[kind][-1]}
    yield {"case": "ADVICE", "result": advice(results["apart"], results["overlapping"])}


def advice(apart: list[str], overlapping: list[str]) -> str:
    """Return what to do, from the results of both kinds."""
    if any(result != "ok" for result in apart):
        return (
            "FAILED: not even matrices with tiles apart are read as expected: the form of descriptors in "
            "bnncc_wgmma.cuh is wrong; use tier bmma"
        )
    return TAKES_THEM if all(result == "ok" for result in overlapping) else f"FAILED: {REFUSES}"


def expected_sums(x: Array, weight: Array, place: tuple[int, int, int]) -> Array:
    """Return the ones in common, ``[64, 8]``."""
    first, next_bits, next_rows = place
    row = np.arange(64)
    pixel = first + row // 8 * next_rows + row % 8
    rows = np.concatenate([x[pixel], x[pixel + next_bits]], axis=1)
    columns = np.concatenate([weight[:8], weight[8:]], axis=1)
    return np.bitwise_count(rows[:, None] & columns[None]).sum(-1).astype(np.int32)
