"""PTX modules for the tests of this folder: one kernel runs one instruction for each element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnncc import emulator

HEAD = ".version 9.0\n.target sm_90a\n.address_size 64\n"
BLOCK = 64


@dataclass(frozen=True)
class Case:
    """One instruction: ``code`` reads ``%a``, ``%b``, ``%c`` (``.b64``; ``%a32``... their low halves).

    It leaves its result in ``%d`` (``.b64``) or ``%d32``.
    """

    name: str
    code: str
    wide: bool = False


def element_kernel(case: Case) -> str:
    """Return a kernel that applies ``case`` to three arrays of u64 and stores u64."""
    finish = "" if case.wide else "cvt.u64.u32 %d, %d32;"
    return f"""
.visible .entry {case.name}(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pd, .param .u32 pn)
{{
  .reg .pred %p<4>;
  .reg .b16 %h<8>;
  .reg .b32 %r<8>, %a32, %b32, %c32, %d32, %i, %n;
  .reg .b64 %q<8>, %a, %b, %c, %d, %base, %off;
  .reg .b32 %x<8>;
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %ntid.x;
  mov.u32 %r2, %tid.x;
  mad.lo.s32 %i, %r0, %r1, %r2;
  ld.param.u32 %n, [pn];
  setp.ge.u32 %p0, %i, %n;
  @%p0 bra DONE;
  mul.wide.u32 %off, %i, 8;
  ld.param.u64 %base, [pa];
  add.s64 %base, %base, %off;
  ld.global.u64 %a, [%base];
  ld.param.u64 %base, [pb];
  add.s64 %base, %base, %off;
  ld.global.u64 %b, [%base];
  ld.param.u64 %base, [pc];
  add.s64 %base, %base, %off;
  ld.global.u64 %c, [%base];
  cvt.u32.u64 %a32, %a;
  cvt.u32.u64 %b32, %b;
  cvt.u32.u64 %c32, %c;
  {case.code}
  {finish}
  ld.param.u64 %base, [pd];
  add.s64 %base, %base, %off;
  st.global.u64 [%base], %d;
DONE:
  ret;
}}
"""


def module_text(cases: Sequence[Case]) -> str:
    """Return one module with a kernel for each case."""
    return HEAD + "".join(element_kernel(case) for case in cases)


Words = npt.NDArray[np.uint64]


def apply(module: emulator.EmulatedModule, name: str, a: Words, b: Words, c: Words) -> list[int]:
    """Return the results of kernel ``name`` for every element."""
    with emulator.DeviceMemory(1 << 24) as memory:
        result = memory.alloc(a.nbytes)
        args = [memory.upload(a), memory.upload(b), memory.upload(c), result, a.size]
        module.launch(name, grid=(-(-a.size // BLOCK),), block=(BLOCK,), args=args)
        return [int(value) for value in result.download(np.uint64, a.size)]


def operands(seed: int, edges: Sequence[int], count: int = 96) -> tuple[Words, Words, Words]:
    """Return three arrays: random values, and the ``edges`` met with one another."""
    rng = np.random.default_rng(seed)
    a, b, c = (rng.integers(0, 1 << 64, count, dtype=np.uint64) for _ in range(3))
    small = rng.integers(0, 70, count // 3, dtype=np.uint64)
    c[: count // 3] = small
    b[count // 3 : 2 * (count // 3)] = small
    grid = np.array(
        [(x, y, edges[(i + j) % len(edges)]) for i, x in enumerate(edges) for j, y in enumerate(edges)],
        dtype=np.uint64,
    )
    first, second, third = (np.concatenate((old, grid[:, k])) for k, old in enumerate((a, b, c)))
    return first, second, third
