"""What a user of Triton would write: int8 products on tensor cores, and xor with population counts."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BYTES_TILE = (128, 256, 128)
WORDS_TILE = (64, 64, 8)


@triton.jit  # type: ignore[misc]  # triton has no types
def int8_kernel(a, b, y, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]  # Triton gives pointers no type
    """Store ``a @ b.T``; tiles of GROUP rows of tiles share what the L2 cache holds of b."""
    tile = tl.program_id(0)
    tiles_m, tiles_n = tl.cdiv(m, M), tl.cdiv(n, N)
    first = tile // (GROUP * tiles_n) * GROUP
    height = min(tiles_m - first, GROUP)
    tile_m = first + tile % (GROUP * tiles_n) % height
    tile_n = tile % (GROUP * tiles_n) // height
    rows, columns, depth = tile_m * M + tl.arange(0, M), tile_n * N + tl.arange(0, N), tl.arange(0, K)
    a_at = a + rows[:, None] * k + depth[None, :]
    b_at = b + columns[None, :] * k + depth[:, None]
    sums = tl.zeros((M, N), dtype=tl.int32)
    for _ in range(0, k, K):
        sums = tl.dot(tl.load(a_at), tl.load(b_at), acc=sums, out_dtype=tl.int32)
        a_at += K
        b_at += K
    tl.store(y + rows[:, None] * n + columns[None, :], sums)


@triton.jit  # type: ignore[misc]  # triton has no types
def popc_kernel(a, b, y, n, words, M: tl.constexpr, N: tl.constexpr, W: tl.constexpr):  # type: ignore[no-untyped-def]  # Triton gives pointers no type
    """Store ``32 * words - 2 * mismatches``; b lies with the words of a column below one another."""
    rows = tl.program_id(1) * M + tl.arange(0, M)
    columns = tl.program_id(0) * N + tl.arange(0, N)
    mismatches = tl.zeros((M, N), dtype=tl.int32)
    for first in range(0, words, W):
        for w in tl.static_range(W):
            x = tl.load(a + rows * words + first + w)
            v = tl.load(b + (first + w) * n + columns)
            bits = x[:, None] ^ v[None, :]
            # The population count of 32 bits: Triton has no portable function for it.
            bits = bits - ((bits >> 1) & 0x55555555)
            bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
            bits = (bits + (bits >> 4)) & 0x0F0F0F0F
            mismatches += ((bits * 0x01010101) >> 24).to(tl.int32)
    tl.store(y + rows[:, None] * n + columns[None, :], 32 * words - 2 * mismatches)


@triton.jit  # type: ignore[misc]  # triton has no types
def popc_library_kernel(a, b, y, n, words, M: tl.constexpr, N: tl.constexpr, W: tl.constexpr):  # type: ignore[no-untyped-def]  # Triton gives pointers no type
    """Do the same with the instruction, by the name it has in NVIDIA's library."""
    rows = tl.program_id(1) * M + tl.arange(0, M)
    columns = tl.program_id(0) * N + tl.arange(0, N)
    mismatches = tl.zeros((M, N), dtype=tl.int32)
    for first in range(0, words, W):
        for w in tl.static_range(W):
            x = tl.load(a + rows * words + first + w)
            v = tl.load(b + (first + w) * n + columns)
            mismatches += tl.inline_asm_elementwise(
                "popc.b32 $0, $1;", "=r,r", [x[:, None] ^ v[None, :]], dtype=tl.int32, is_pure=True, pack=1
            )
    tl.store(y + rows[:, None] * n + columns[None, :], 32 * words - 2 * mismatches)


def int8_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ``a @ b.T``, i32; a and b are ``[rows, k]`` int8, of multiples of the tile."""
    (m, k), n = a.shape, b.shape[0]
    tile_m, tile_n, tile_k = BYTES_TILE
    y = torch.empty((m, n), dtype=torch.int32, device=a.device)
    grid = (triton.cdiv(m, tile_m) * triton.cdiv(n, tile_n),)
    int8_kernel[grid](a, b, y, m, n, k, tile_m, tile_n, tile_k, 8, num_warps=8, num_stages=3)
    return y


def popc_product(a: torch.Tensor, b: torch.Tensor, *, has_instruction: bool = True) -> torch.Tensor:
    """Return the product, i32; a is ``[m, words]``, b ``[words, n]``, words of 32 signs as i32."""
    (m, words), n = a.shape, b.shape[1]
    tile_m, tile_n, tile_w = WORDS_TILE
    y = torch.empty((m, n), dtype=torch.int32, device=a.device)
    kernel = popc_library_kernel if has_instruction else popc_kernel
    kernel[(n // tile_n, m // tile_m)](a, b, y, n, words, tile_m, tile_n, tile_w, num_warps=4)
    return y
