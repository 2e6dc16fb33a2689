"""Small kernels with their inputs, what they must compute, and which detectors may name their planted fault.

The same cases run on a GPU as a part of ``benchmarks.gpu_check``: there they show that the emulator is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.emulator_faults.case import WRONG_RESULT, Array, Case, Step


def _words(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).integers(0, 1 << 32, shape, dtype=np.uint32)


def _ints(seed: int, low: int, high: int, *shape: int) -> Array:
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int32)


def _bits(words: Array) -> Array:
    return np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little").astype(np.int64)


def _packed(bits: Array) -> Array:
    return np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little")).view(np.uint32)


def _simple(
    source: str,
    kernel: str,
    found_by: str,
    grid: tuple[int, ...],
    block: int,
    arguments: tuple[str | int, ...],
    **rest: Any,
) -> Case:
    shared = rest.pop("shared_bytes", 0)
    step = Step(kernel=kernel, grid=grid, block=block, arguments=arguments, shared_bytes=shared)
    return Case(name=kernel, source=source, steps=(step,), found_by=tuple(found_by.split()), **rest)


def _gemm(kernel: str, found_by: str) -> Case:
    M, N, KW = 13, 11, 6
    a, b = _words(1, M, KW), _words(2, N, KW)
    mismatches = (_bits(a)[:, None, :] != _bits(b)[None]).sum(axis=2)
    return _simple(
        "popc",
        kernel,
        found_by,
        (2, 2),
        64,
        ("a", "b", "c", M, N, KW),
        inputs={"a": a, "b": b},
        outputs={"c": (32 * KW - 2 * mismatches).astype(np.int32)},
    )


def _pack(kernel: str, found_by: str) -> Case:
    n = 70
    x, limit = _ints(3, -9, 9, n), _ints(4, -5, 5, n)
    bits = np.pad(x >= limit, (0, 96 - n))
    return _simple(
        "popc",
        kernel,
        found_by,
        (2,),
        64,
        ("x", "limit", "words", n),
        inputs={"x": x, "limit": limit},
        outputs={"words": _packed(bits)},
    )


def _transpose() -> Case:
    x = _words(5, 32)
    return _simple(
        "popc",
        "transpose",
        "race uninitialized",
        (1,),
        32,
        ("x", "y"),
        inputs={"x": x},
        outputs={"y": _packed(_bits(x.reshape(32, 1)).T.astype(np.uint8)).reshape(32)},
    )


def _popc_rows() -> Case:
    n = 100
    x = _words(6, n)
    counts = _bits(x.reshape(n, 1)).sum(axis=1)
    sums = [sum(int(counts[i]) for i in range(n) if i % 48 // 32 == warp) for warp in range(2)]
    return _simple(
        "popc",
        "popc_rows",
        "mask",
        (1,),
        48,
        ("x", "y", n),
        inputs={"x": x},
        outputs={"y": np.array(sums, np.int32)},
    )


def _tree() -> Case:
    x = _ints(7, -1000, 1000, 3, 64)
    return _simple(
        "popc",
        "tree",
        "race",
        (3,),
        64,
        ("x", "y"),
        inputs={"x": x},
        outputs={"y": x.sum(axis=1, dtype=np.int32)},
    )


def _total() -> Case:
    x = _ints(8, -1000, 1000, 5, 32)
    zero = np.zeros(1, np.int32)
    return _simple(
        "popc",
        "total",
        "race",
        (5,),
        32,
        ("x", "y"),
        inputs={"x": x, "y": zero},
        outputs={"y": x.sum(dtype=np.int32).reshape(1)},
    )


def _last_block(kernel: str) -> Case:
    x = _ints(9, -1000, 1000, 6, 32)
    return _simple(
        "popc",
        kernel,
        "race",
        (6,),
        32,
        ("x", "part", "counter", "y"),
        inputs={"x": x, "counter": np.zeros(1, np.uint32)},
        outputs={"y": x.sum(dtype=np.int32).reshape(1)},
        scratch={"part": 24},
    )


def _pool() -> Case:
    H, W = 7, 9
    x = _words(10, H, W)
    y = x[:6:2, :8:2] | x[1:6:2, :8:2] | x[:6:2, 1:8:2] | x[1:6:2, 1:8:2]
    return _simple(
        "popc", "pool", "out_of_bounds", (1,), 32, ("x", "y", H, W), inputs={"x": x}, outputs={"y": y}
    )


def _border() -> Case:
    H, W = 5, 6
    table = _ints(11, 0, 99, 9)
    row, column = (np.where(i == 0, 0, np.where(i == n - 1, 2, 1)) for n in (H, W) for i in (np.arange(n),))
    return _simple(
        "popc",
        "border",
        "out_of_bounds",
        (1,),
        32,
        ("table", "y", H, W),
        inputs={"table": table},
        outputs={"y": table[row[:, None] * 3 + column[None]]},
    )


def _halo() -> Case:
    W = 24
    x, weight = _words(12, 8, W), _words(13, 9)
    padded = np.pad(x, 1)
    windows = np.stack([padded[t // 3 : t // 3 + 8, t % 3 : t % 3 + W] ^ weight[t] for t in range(9)])
    y = _bits(windows[..., None].copy()).sum(axis=(0, -1)).astype(np.int32)
    return _simple(
        "popc",
        "halo",
        "uninitialized",
        (3,),
        64,
        ("x", "w", "y", W),
        inputs={"x": x, "w": weight},
        outputs={"y": y},
    )


def _wide_rows() -> Case:
    x = _words(14, 32, 4)
    y = _bits(x).sum(axis=1).astype(np.int32)
    return _simple("popc", "wide_rows", "misaligned", (1,), 32, ("x", "y"), inputs={"x": x}, outputs={"y": y})


def _early() -> Case:
    x = _words(15, 64)
    return _simple(
        "popc",
        "early",
        "divergent_barrier deadlock",
        (1,),
        64,
        ("x", "y"),
        inputs={"x": x},
        outputs={"y": x[::-1].copy()},
    )


def _dynamic() -> Case:
    x = _words(16, 64)
    return _simple(
        "popc",
        "dynamic",
        "out_of_bounds",
        (1,),
        64,
        ("x", "y", 64),
        inputs={"x": x},
        outputs={"y": ~x},
        shared_bytes=512,
    )


def _grid(kernel: str, found_by: str) -> Case:
    n = 4 * 32
    x = _words(17, n)
    between = x ^ np.roll(x, -5)
    return _simple(
        "popc",
        kernel,
        found_by,
        (4,),
        32,
        ("x", "between", "y", "counter"),
        inputs={"x": x, "counter": np.zeros(1, np.uint32)},
        outputs={"y": np.roll(between, -40) + np.uint32(1)},
        scratch={"between": 4 * n},
        is_cooperative=True,
    )


def _layers() -> Case:
    rows, n, row_words = 8, 45, 2
    x = _ints(18, -9, 9, rows, n)
    steps = (
        Step(kernel="layer_one", grid=(rows,), block=32, arguments=("x", "words", n, row_words)),
        Step(kernel="layer_two", grid=(1,), block=rows, arguments=("words", "y", row_words)),
    )
    return Case(
        name="layers",
        source="popc",
        steps=steps,
        inputs={"x": x},
        outputs={"y": (x > 0).sum(axis=1).astype(np.int32)},
        scratch={"words": rows * row_words * 4},
        found_by=("uninitialized",),
    )


def _histogram() -> Case:
    x = np.random.default_rng(19).integers(0, 256, 200, dtype=np.uint8)
    counts = np.bincount(x % 8, minlength=8).astype(np.int32)
    return _simple(
        "popc", "histogram", "race", (1,), 64, ("x", "y", 200), inputs={"x": x}, outputs={"y": counts}
    )


def _stages(values: Array) -> Array:
    total = np.zeros(64, np.uint32)
    for chunk in values:
        total = total * np.uint32(3) + chunk + chunk[::-1]
    return total


def _copy(kernel: str, found_by: str) -> Case:
    x = _words(20, 5 * 64 - 12)
    padded = np.pad(x, (0, 12)).reshape(5, 64)
    return _simple(
        "tensor",
        kernel,
        found_by,
        (1,),
        64,
        ("x", "y", 5, x.size),
        inputs={"x": x},
        outputs={"y": _stages(padded)},
    )


def _tiled(matrix: Array) -> Array:
    """Return rows of 32 bytes as tiles of 8 rows x 16 bytes, first halves of all rows first."""
    return np.ascontiguousarray(matrix.reshape(-1, 8, 2, 4).transpose((2, 0, 1, 3)))


def _mma(kernel: str, found_by: str) -> Case:
    a, b = _words(21, 16, 8), _words(22, 8, 8)
    return _simple(
        "tensor",
        kernel,
        found_by,
        (1,),
        32,
        ("a", "b", "c"),
        inputs={"a": _tiled(a), "b": _tiled(b)},
        outputs={"c": (_bits(a) @ _bits(b).T).astype(np.int32)},
    )


def _epilogue() -> Case:
    sums, limit = _ints(23, -9, 9, 32, 8), _ints(24, -5, 5, 8)
    bits = (sums >= limit).T.reshape(-1, 8)
    return _simple(
        "tensor",
        "epilogue",
        "race uninitialized",
        (1,),
        32,
        ("sums", "limit", "y"),
        inputs={"sums": sums, "limit": limit},
        outputs={"y": np.packbits(bits, axis=-1, bitorder="little").reshape(32)},
    )


def _bytes() -> Case:
    x, w = (np.random.default_rng(seed).integers(-128, 128, 4 * 45).astype(np.int8) for seed in (25, 26))
    total = (x.astype(np.int32) * w).sum(dtype=np.int32).reshape(1)
    return _simple(
        "tensor",
        "bytes",
        "out_of_bounds",
        (1,),
        32,
        ("x", "w", "y", 45),
        inputs={"x": x, "w": w},
        outputs={"y": total},
    )


def _named(kernel: str, found_by: str) -> Case:
    x = _words(27, 5, 32)
    y = sum((x[r, ::-1] * np.uint32(7)) ^ np.uint32(r) for r in range(5))
    return _simple(
        "tensor", kernel, found_by, (1,), 64, ("x", "y", 5), inputs={"x": x}, outputs={"y": np.asarray(y)}
    )


def _wgmma(kernel: str, found_by: str) -> Case:
    a, b = _words(28, 64, 8), _words(29, 8, 8)
    held = np.empty((64, 8), np.int64)
    for row in range(64):
        for column in range(8):  # the accumulators start at 1, 2, 3, 4
            held[row, column] = 1 + column % 2 + (2 if row % 16 >= 8 else 0)
    return _simple(
        "hopper",
        kernel,
        found_by,
        (1,),
        128,
        ("a", "b", "c"),
        inputs={"a": _tiled(a), "b": _tiled(b)},
        outputs={"c": (held + _bits(a) @ _bits(b).T).astype(np.int32)},
    )


def _bulk(kernel: str, found_by: str) -> Case:
    x = _words(30, 5, 64)
    return _simple(
        "hopper", kernel, found_by, (1,), 96, ("x", "y", 5), inputs={"x": x}, outputs={"y": _stages(x)}
    )


def _give(kernel: str, found_by: str) -> Case:
    x = _words(31, 4, 64)
    y = x + np.arange(4, dtype=np.uint32)[:, None]
    return _simple("hopper", kernel, found_by, (1,), 64, ("x", "y", 4), inputs={"x": x}, outputs={"y": y})


def _arrive(kernel: str, found_by: str) -> Case:
    x = _words(32, 128)
    y = x[127 - np.arange(32) * 4]
    return _simple("hopper", kernel, found_by, (1,), 64, ("x", "y"), inputs={"x": x}, outputs={"y": y})


def _special(kernel: str, found_by: str) -> Case:
    chunks = 5
    a, b = _words(33, chunks, 64, 8), _words(34, chunks, 8, 8)
    product = sum(_bits(a[k]) @ _bits(b[k]).T for k in range(chunks))
    return _simple(
        "hopper",
        kernel,
        found_by,
        (1,),
        256,
        ("a", "b", "c", chunks),
        inputs={name: np.stack([_tiled(part) for part in parts]) for name, parts in (("a", a), ("b", b))},
        outputs={"c": np.asarray(product).astype(np.int32)},
    )


def _elected() -> Case:
    x = _words(35, 64)
    return _simple(
        "hopper",
        "elected",
        "race fence launch",
        (1,),
        64,
        ("x", "y"),
        inputs={"x": x},
        outputs={"y": x[::-1].copy()},
    )


_MAKERS: tuple[Callable[[], Case], ...] = (
    lambda: _gemm("gemm_staging", "race uninitialized"),
    lambda: _gemm("gemm_restaging", "race"),
    lambda: _gemm("gemm_rows", "out_of_bounds"),
    lambda: _gemm("gemm_words", "out_of_bounds"),
    lambda: _pack("pack_mask", "mask"),
    lambda: _pack("pack_guard", "out_of_bounds"),
    _transpose,
    _popc_rows,
    _tree,
    _total,
    lambda: _last_block("last_block_gives"),
    lambda: _last_block("last_block_takes"),
    _pool,
    _border,
    _halo,
    _wide_rows,
    _early,
    _dynamic,
    lambda: _grid("grid_fence", "race"),
    lambda: _grid("grid_count", "livelock"),
    lambda: _grid("grid_block", "race"),
    _layers,
    _histogram,
    lambda: _copy("copy_wait", "race"),
    lambda: _copy("copy_barrier", "race uninitialized"),
    lambda: _copy("copy_stage", "race"),
    lambda: _copy("copy_tail", "out_of_bounds"),
    lambda: _mma("mma_halves", WRONG_RESULT),
    lambda: _mma("mma_pitch", "misaligned"),
    lambda: _mma("mma_barrier", "race uninitialized"),
    _epilogue,
    _bytes,
    lambda: _named("named_free", "divergent_barrier race deadlock"),
    lambda: _named("named_wrong", "deadlock"),
    lambda: _wgmma("wgmma_proxy", "fence"),
    lambda: _wgmma("wgmma_wait", "fence"),
    lambda: _wgmma("wgmma_stride", "out_of_bounds"),
    lambda: _wgmma("wgmma_fence", "fence"),
    lambda: _wgmma("wgmma_barrier", "race uninitialized"),
    lambda: _wgmma("wgmma_order", WRONG_RESULT),
    lambda: _bulk("bulk_bytes", "race fence livelock"),
    lambda: _bulk("bulk_init", "fence"),
    lambda: _bulk("bulk_parity", "race launch livelock uninitialized"),
    lambda: _bulk("bulk_empty", "race launch livelock uninitialized"),
    lambda: _bulk("bulk_warp", "race launch livelock uninitialized"),
    lambda: _bulk("bulk_count", "livelock"),
    lambda: _bulk("bulk_start", "race uninitialized"),
    lambda: _give("give_proxy", "fence"),
    lambda: _give("give_reuse", "race"),
    lambda: _give("give_end", "fence"),
    lambda: _arrive("arrive_twice", "livelock"),
    lambda: _arrive("arrive_early", "race uninitialized"),
    lambda: _special("special_free", "race"),
    lambda: _special("special_maker", "race launch livelock"),
    _elected,
)


def cases() -> tuple[Case, ...]:
    """Return all of them."""
    return tuple(make() for make in _MAKERS)
