"""Forms of memory, control and warp instructions that compilers seldom print, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnncc import emulator

from .ptx_kernels import HEAD
from .test_memory import access
from .test_warp import run, warp_kernel

THREADS = 32
INTEGERS: dict[str, Callable[[int, int], int]] = {
    "and": lambda old, b: old & b,
    "or": lambda old, b: old | b,
    "xor": lambda old, b: old ^ b,
    "add": lambda old, b: old + b,
    "min": min,
    "max": max,
    "exch": lambda old, b: b,
    "inc": lambda old, b: 0 if old >= b else old + 1,
    "dec": lambda old, b: b if old == 0 or old > b else old - 1,
}
KINDS = {
    "b32": ("and", "or", "xor", "exch"),
    "b64": ("and", "or", "xor", "exch"),
    "u32": ("add", "min", "max", "inc", "dec"),
    "s32": ("add", "min", "max"),
    "u64": ("add", "min", "max"),
    "s64": ("min", "max"),
}
SPACES = ("global", "shared", "shared::cta")


def typed(value: int, kind: str) -> int:
    bits = int(kind[1:])
    value &= (1 << bits) - 1
    return value - (1 << bits) if kind[0] == "s" and value >> (bits - 1) else value


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("opcode", ["atom", "red"])
def test_updates_of_integers(load, memory, opcode: str, space: str) -> None:
    """Each thread updates a word of its own twice; ``atom`` keeps what the second one found."""
    forms = [(kind, op) for kind, ops in KINDS.items() for op in ops if opcode == "atom" or op != "exch"]
    code, at = ["mov.u32 %t, tile; mad.lo.u32 %t, %r0, 8, %t; mad.wide.u32 %d1, %r0, 8, %d0;"], "[%d1]"
    if space != "global":
        at = "[%t]"
    for number, (kind, op) in enumerate(forms):
        operand = "%q" if "64" in kind else "%v"
        found = {"red": "", "atom": f"{'%f' if '64' in kind else '%g'}, "}[opcode]
        update = f"{opcode}.{space}.{op}.{kind} {found}{at}, {operand};"
        copied = "" if space == "global" else "ld.global.u64 %q, [%d1]; st.shared.u64 [%t], %q;"
        row = 1024 + 512 * number
        result = {"red": "", "atom": f"st.global.{kind.replace('s', 'u')} [%d2+{row + 8}], {found[:2]};"}[
            opcode
        ]
        stored = "" if space == "global" else "ld.shared.u64 %q, [%t]; st.global.u64 [%d1], %q;"
        taken = f"{copied} ld.global.u64 %q, [%d1+256]; cvt.u32.u64 %v, %q;"
        kept = f"mad.wide.u32 %d2, %r0, 16, %d0; ld.global.u64 %q, [%d1]; st.global.u64 [%d2+{row}], %q;"
        code += [f"{taken} {update} {update}", f"{stored} {kept} {result}"]
    registers = ".reg .b32 %t, %v, %g; .reg .b64 %q, %f; .shared .align 8 .b8 tile[256];"
    text = access("\n".join(code), registers).replace("  .shared .align 16 .b8 tile[64];\n", "")
    module = load(text)
    rng = np.random.default_rng(3)
    start, given = (rng.integers(0, 1 << 64, THREADS, dtype=np.uint64) for _ in range(2))
    given[::3] = start[::3]
    words = np.concatenate((start, given, np.zeros(64 + 64 * len(forms), np.uint64)))
    buffer = memory.upload(words)
    module.launch("k", (1,), (THREADS,), [buffer])
    found = buffer.download(np.uint64, words.size)[128:].reshape(-1, THREADS, 2)
    state = [int(x) for x in start]
    for number, (kind, op) in enumerate(forms):
        mask = (1 << int(kind[1:])) - 1
        for lane in range(THREADS):
            operand, meaning = typed(int(given[lane]), kind), INTEGERS[op]
            once = meaning(typed(state[lane], kind), operand) & mask
            twice = meaning(typed(once, kind), operand) & mask
            state[lane] = state[lane] & ~mask | twice
            assert int(found[number, lane, 0]) == state[lane], (kind, op, lane)
            if opcode == "atom":
                assert int(found[number, lane, 1]) & mask == once, (kind, op, lane)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_updates_of_floats(load, memory, kind: str) -> None:
    dtype = np.dtype(f"f{int(kind[1:]) // 8}")
    register, bits = ("%q", "b64") if kind == "f64" else ("%v", "b32")
    code = (
        f"mad.wide.u32 %d1, %r0, {dtype.itemsize}, %d0; ld.global.{bits} {register}, [%d1+1024];"
        f"red.global.add.{kind} [%d1], {register}; atom.global.add.{kind} {register}, [%d1], {register};"
        f"st.global.{bits} [%d1+2048], {register}; atom.global.exch.{bits} {register}, [%d1], {register};"
        f"st.global.{bits} [%d1+3072], {register};"
    )
    module = load(access(code, ".reg .b32 %v; .reg .b64 %q;"))
    values = np.random.default_rng(1).normal(size=1024 * 4 // dtype.itemsize).astype(dtype)
    step = 1024 // dtype.itemsize
    buffer = memory.upload(values)
    module.launch("k", (1,), (THREADS,), [buffer])
    found = buffer.download(dtype, values.size)
    once = values[:THREADS] + values[step : step + THREADS]
    np.testing.assert_array_equal(found[2 * step : 2 * step + THREADS], once)
    np.testing.assert_array_equal(found[3 * step : 3 * step + THREADS], once + values[step : step + THREADS])
    np.testing.assert_array_equal(found[:THREADS], once)


def test_swaps_of_what_is_expected(load, memory) -> None:
    code = (
        "mad.wide.u32 %d1, %r0, 8, %d0; cvt.u64.u32 %d2, %r0; and.b32 %r1, %r0, 1; cvt.u64.u32 %d3, %r1;"
        "atom.global.cas.b64 %d4, [%d1], %d3, %d2; st.global.u64 [%d1+256], %d4;"
    )
    buffer = memory.upload(np.zeros(64, np.uint64))
    load(access(code)).launch("k", (1,), (32,), [buffer])
    lanes = np.arange(32)
    found = buffer.download(np.uint64, 64)
    np.testing.assert_array_equal(found[:32], np.where(lanes % 2 == 0, lanes, 0))
    np.testing.assert_array_equal(found[32:], 0)


@pytest.mark.parametrize(
    "code",
    [
        "atom.const.add.u32 %r1, [%d0], 1;",
        "atom.local.add.u32 %r1, [%d0], 1;",
        "red.global.exch.b32 [%d0], 1;",
        "red.global.cas.b32 [%d0], 1, 2;",
        "st.const.u32 [%d0], 1;",
        "ldu.global.u32 %r1, [%d0];",
        "cp.async.bulk.global.shared.bulk_group [%d0], [%r0], 16;",
        "fence.proxy.tensormap::generic.release.gpu;",
    ],
)
def test_forms_that_do_not_exist_are_refused(load, code: str) -> None:
    with pytest.raises(emulator.PtxError):
        load(access(code))


FORMS = {
    "spaces by their long names": (
        (
            "mov.u32 %r2, tile; st.shared::cta.u32 [%r2+16], 6; ld.shared::cta.u32 %r1, [%r2+16];"
            "cvt.u64.u32 %d1, %r2; cvta.shared::cta.u64 %d1, %d1;"
            "ld.u32 %r3, [%d1+16]; add.u32 %r1, %r1, %r3;"
            "isspacep.shared::cta %p, %d1; @%p add.u32 %r1, %r1, 100;"
            "isspacep.global %p, %d1; @%p mov.u32 %r1, 0;"
            "isspacep.global %p, %d0; @%p add.u32 %r1, %r1, 1000;"
        ),
        1112,
    ),
    "parameters by address": (
        (
            "ld.param::entry.u64 %d1, [out]; sub.u64 %d1, %d1, %d0; cvt.u32.u64 %r1, %d1;"
            "mov.u64 %d2, out; cvta.param.u64 %d3, %d2; ld.u64 %d4, [%d3]; sub.u64 %d4, %d4, %d0;"
            "cvt.u32.u64 %r2, %d4; add.u32 %r1, %r1, %r2; isspacep.param %p, %d3; @%p add.u32 %r1, %r1, 5;"
            "cvta.param::entry.u64 %d3, %d2; isspacep.param::entry %p, %d3; @%p add.u32 %r1, %r1, 7;"
        ),
        12,
    ),
    "constants by address": (
        (
            "mov.u64 %d1, table; cvta.const.u64 %d2, %d1; ld.u32 %r1, [%d2+4]; ld.const.u32 %r2, [%d1];"
            "add.u32 %r1, %r1, %r2;"
        ),
        12,
    ),
    "eight words": (
        (
            "mov.u32 %r1, 3; st.global.v8.b32 [%d0+32], {%r1, %r1, %r0, %r0, %r0, %r0, %r0, %r1};"
            "ld.global.v8.u32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r1}, [%d0+32]; add.u32 %r1, %r1, %r2;"
        ),
        6,
    ),
    "nanosleep": ("nanosleep.u32 100; mov.u32 %r1, 8;", 8),
    "activemask": ("activemask.b32 %r1;", 1),
    "exit": ("mov.u32 %r1, 4; st.global.u32 [%d0], %r1; exit;", 4),
    "a call that ends the thread": (
        "mov.u32 %r1, 9; st.global.u32 [%d0], %r1; call.uni leaves; mov.u32 %r1, 1;",
        9,
    ),
    "a call with a result": (
        (
            "{ .param .b32 x; st.param::func.b32 [x], 20; .param .b32 y; call.uni (y), more, (x);"
            " ld.param::func.b32 %r1, [y]; }"
        ),
        23,
    ),
    "copies past the first cache": (
        (
            "st.global.u32 [%d0+16], 70; mov.u32 %r2, tile; cp.async.cg.shared.global [%r2], [%d0+16], 16, 4;"
            "cp.async.ca.shared::cta.global [%r2+16], [%d0+16], 4;"
            "cp.async.wait_all; ld.shared.u32 %r1, [%r2];"
            "ld.shared.u32 %r3, [%r2+16]; ld.shared.u32 %r4, [%r2+12];"
            "add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4;"
        ),
        140,
    ),
    "an arrival by way of the cluster": (
        (
            "mov.u32 %r2, tile; mbarrier.init.shared.b64 [%r2], 1; fence.mbarrier_init.release.cluster;"
            "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r2];"
            "mbarrier.test_wait.parity.shared.b64 %p, [%r2], 0; selp.u32 %r1, 1, 0, %p;"
        ),
        1,
    ),
    "a bulk copy by way of the cluster": (
        (
            "st.global.v4.u32 [%d0], {%r0, %r0, %r0, 66}; mov.u32 %r2, tile;"
            "mbarrier.init.shared.b64 [%r2+16], 1;"
            "fence.proxy.async; mbarrier.arrive.expect_tx.shared.b64 _, [%r2+16], 16;"
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%d0], 16, [%r2+16];"
            "W: mbarrier.try_wait.parity.shared.b64 %p, [%r2+16], 0; @!%p bra W; ld.shared.u32 %r1, [%r2+12];"
        ),
        66,
    ),
}
FUNCTIONS = """
.const .align 4 .u32 table[2] = {5, 7};
.func leaves() { exit; }
.func (.param .b32 result) more(.param .b32 x)
{
  .reg .b32 %r<3>;
  ld.param::func.b32 %r1, [x];
  add.u32 %r2, %r1, 3;
  st.param::func.b32 [result], %r2;
  ret;
}
"""


@pytest.mark.parametrize("name", FORMS)
def test_forms(load, memory, name: str) -> None:
    code, expected = FORMS[name]
    text = access(f"{code} st.global.u32 [%d0], %r1;", ".reg .pred %p;").replace(HEAD, HEAD + FUNCTIONS, 1)
    for schedule in (emulator.Schedule.ascending(), emulator.Schedule.descending()):
        buffer = memory.upload(np.zeros(32, np.uint32))
        load(text).launch("k", (1,), (1,), [buffer], options=emulator.LaunchOptions(schedule=schedule))
        assert buffer.download(np.uint32, 1)[0] == expected


def test_brkpt_is_a_trap(load) -> None:
    with pytest.raises(emulator.EmulatorFault, match="brkpt") as caught:
        load(access("brkpt;")).launch("k", (1,), (1,), [None])
    assert caught.value.findings[0].kind is emulator.FaultKind.TRAP


REDUCTIONS = {
    "bar.red.and.pred %q, 1, %p; selp.u32 %r1, 1, 0, %q;": (0, 1),
    "bar.red.and.pred %q, 1, 64, %p; selp.u32 %r1, 1, 0, %q;": (0, 1),
    "barrier.red.or.pred %q, 0, %p; selp.u32 %r1, 1, 0, %q;": (1, 1),
    "barrier.red.popc.u32 %r1, 0, %p;": (63, 64),
    "barrier.cta.red.popc.aligned.u32 %r1, 2, 64, !%p;": (1, 0),
}


@pytest.mark.parametrize("code", REDUCTIONS)
def test_barriers_that_reduce(load, memory, code: str) -> None:
    for threshold, expected in enumerate(REDUCTIONS[code]):
        head = f"setp.ge.u32 %p, %r0, {1 - threshold}; mad.wide.u32 %d1, %r0, 4, %d0;"
        module = load(access(f"{head} {code} st.global.u32 [%d1], %r1;", ".reg .pred %p, %q;"))
        out = memory.alloc(256)
        module.launch("k", (1,), (64,), [out])
        np.testing.assert_array_equal(out.download(np.uint32, 64), expected)


def test_an_arrival_does_not_wait(load, memory) -> None:
    code = (
        "setp.lt.u32 %p, %r0, 32; @%p bra FIRST; barrier.sync 3, 64; ld.global.u32 %r1, [%d0];"
        "bra.uni END; FIRST: st.global.u32 [%d0], 5; barrier.arrive 3, 64; mov.u32 %r1, 6; END:"
        "mad.wide.u32 %d1, %r0, 4, %d0; st.global.u32 [%d1+256], %r1;"
    ).replace("st.global.u32 [%d0], 5;", "setp.eq.u32 %p, %r0, 0; @%p st.global.u32 [%d0], 5;")
    out = memory.alloc(512)
    load(access(code, ".reg .pred %p;")).launch("k", (1,), (64,), [out])
    np.testing.assert_array_equal(out.download(np.uint32, 128)[64:], np.repeat([6, 5], 32))


def test_matches_of_64_bits_and_small_matrices(load) -> None:
    at = "mov.u32 %t0, tile; and.b32 %t1, %t31, 15; mad.lo.u32 %t0, %t1, 16, %t0;"
    own = "mov.u32 %t2, tile; mad.lo.u32 %t2, %t31, 4, %t2;"
    whole = f"bar.warp.sync -1; {own} ld.shared.u32 %y0, [%t2];"
    second = "ld.shared.u32 %y1, [%t2+128];"
    kernels = {
        "any": "mov.b64 %q0, {%x0, %x1}; match.any.sync.b64 %y0, %q0, -1;",
        "all": "mov.b64 %q0, {%x1, %x1}; match.all.sync.b64 %y0|%p1, %q0, -1; selp.u32 %y0, %y0, 0, %p1;",
        "x1": f"{at} stmatrix.sync.aligned.m8n8.x1.shared::cta.b16 [%t0], {{%x0}}; {whole}",
        "x2": f"{at} stmatrix.sync.aligned.m8n8.x2.shared.b16 [%t0], {{%x0, %x1}}; {whole} {second}",
        "ld": f"{own} st.shared.u32 [%t2], %x0; bar.warp.sync -1; {at}"
        "ldmatrix.sync.aligned.m8n8.x1.shared::cta.b16 {%y0}, [%t0];",
    }
    texts = [warp_kernel(name, code, 2, 2 if name == "x2" else 1) for name, code in kernels.items()]
    module = load(HEAD + "".join(texts).replace("  ld.shared.u32 %y0, [%t2];\n  st", "  st"))
    values = np.random.default_rng(2).integers(0, 1 << 32, (2, 32), dtype=np.uint32)
    values[:, 4:8] = values[:, 20:21]
    both = [sum(1 << k for k in range(32) if (values[:, k] == values[:, i]).all()) for i in range(32)]
    np.testing.assert_array_equal(run(module, "any", values)[0], both)
    np.testing.assert_array_equal(run(module, "all", values)[0], 0)
    same = np.stack((values[0], np.full(32, 7, np.uint32)))
    np.testing.assert_array_equal(run(module, "all", same)[0], 0xFFFFFFFF)
    # Row r of a matrix lies at the address of lane r; lane l holds two columns of row l / 4.
    np.testing.assert_array_equal(run(module, "ld", values)[0], values[0])
    np.testing.assert_array_equal(run(module, "x2", values, 2), values)
    np.testing.assert_array_equal(run(module, "x1", values)[0], values[0])
