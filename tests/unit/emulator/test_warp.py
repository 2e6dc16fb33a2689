"""Collectives and matrix instructions of one warp against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc import emulator

from .ptx_kernels import HEAD

LANES = np.arange(32)
SCHEDULES = [emulator.Schedule.ascending(), emulator.Schedule.descending(), emulator.Schedule.random(3)]


def warp_kernel(name: str, code: str, words_in: int = 2, words_out: int = 1) -> str:
    """Return a kernel of one warp: lane reads ``%x0..``, runs ``code``, writes ``%y0..``."""
    loads = "".join(f"ld.global.u32 %x{i}, [%src+{128 * i}];\n" for i in range(words_in))
    stores = "".join(f"st.global.u32 [%dst+{128 * i}], %y{i};\n" for i in range(words_out))
    return f"""
.visible .entry {name}(.param .u64 ps, .param .u64 pd)
{{
  .reg .pred %p<8>;
  .reg .b32 %x<32>, %y<32>, %t<32>;
  .reg .b64 %src, %dst, %o, %q<4>;
  .shared .align 16 .b8 tile[1024];
  ld.param.u64 %src, [ps];
  ld.param.u64 %dst, [pd];
  mov.u32 %t31, %laneid;
  mul.wide.u32 %o, %t31, 4;
  add.s64 %src, %src, %o;
  add.s64 %dst, %dst, %o;
  {loads}
  {code}
  {stores}
  ret;
}}
"""


def run(module, name: str, inputs: np.ndarray, words_out: int = 1, schedule=SCHEDULES[0]) -> np.ndarray:
    with emulator.DeviceMemory(1 << 20) as memory:
        result = memory.alloc(128 * words_out)
        options = emulator.LaunchOptions(schedule=schedule)
        module.launch(name, (1,), (32,), [memory.upload(inputs), result], options=options)
        return result.download(np.uint32, (words_out, 32))


def test_votes_matches_reductions(load) -> None:
    ones = "setp.ne.u32 %p1, %x0, 0;"
    full = "0xffffffff"
    kernels = {
        "ballot": f"{ones} vote.sync.ballot.b32 %y0, %p1, {full};",
        "ballot_not": f"{ones} vote.sync.ballot.b32 %y0, !%p1, {full};",
        "any": f"{ones} vote.sync.any.pred %p2, %p1, {full}; selp.u32 %y0, 1, 0, %p2;",
        "all": f"{ones} vote.sync.all.pred %p2, %p1, {full}; selp.u32 %y0, 1, 0, %p2;",
        "uni": f"{ones} vote.sync.uni.pred %p2, %p1, {full}; selp.u32 %y0, 1, 0, %p2;",
        "halves": f"{ones} setp.lt.u32 %p3, %t31, 16; selp.b32 %t0, 0xffff, 0xffff0000, %p3; "
        "vote.sync.ballot.b32 %y0, %p1, %t0;",
        "match_any": f"match.any.sync.b32 %y0, %x1, {full};",
        "match_all": f"match.all.sync.b32 %y0|%p1, %x1, {full}; @!%p1 add.u32 %y0, %y0, 7;",
        "elect": f"elect.sync %y0|%p1, {full}; selp.u32 %y0, 1, 0, %p1; redux.sync.add.u32 %y0, %y0, {full};",
        "lanemasks": "mov.u32 %t0, %lanemask_lt; mov.u32 %t1, %lanemask_ge; "
        "xor.b32 %t2, %t0, %t1; mov.u32 %t3, "
        "%lanemask_le; mov.u32 %t4, %lanemask_gt; and.b32 %t5, %t3, %t4; xor.b32 %y0, %t2, %t5;",
        **{
            f"redux_{op}_{kind}": f"redux.sync.{op}.{kind} %y0, %x1, {full};"
            for kind, ops in {
                "u32": ("add", "min", "max"),
                "s32": ("add", "min", "max"),
                "b32": ("and", "or", "xor"),
            }.items()
            for op in ops
        },
    }
    module = load(HEAD + "".join(warp_kernel(name, code) for name, code in kernels.items()))
    rng = np.random.default_rng(0)
    for flags in (rng.integers(0, 2, 32), np.zeros(32, int), np.ones(32, int)):
        values = rng.integers(0, 1 << 32, 32, dtype=np.uint32)
        values[5:9] = values[20]
        inputs = np.stack((flags.astype(np.uint32), values))
        ballot = int((flags.astype(np.uint64) << LANES.astype(np.uint64)).sum())
        s = values.view(np.int32)
        expected = {
            "ballot": ballot,
            "ballot_not": ballot ^ 0xFFFFFFFF,
            "any": int(ballot != 0),
            "all": int(ballot == 0xFFFFFFFF),
            "uni": int(ballot in (0, 0xFFFFFFFF)),
            "halves": np.where(LANES < 16, ballot & 0xFFFF, ballot & 0xFFFF0000),
            "match_any": [sum(1 << k for k in range(32) if values[k] == values[i]) for i in range(32)],
            "match_all": 7,
            "elect": np.full(32, 1),
            "lanemasks": 0xFFFFFFFF,
            "redux_add_u32": int(values.sum()) & 0xFFFFFFFF,
            "redux_add_s32": int(values.sum()) & 0xFFFFFFFF,
            "redux_min_u32": values.min(),
            "redux_max_u32": values.max(),
            "redux_min_s32": int(s.min()) & 0xFFFFFFFF,
            "redux_max_s32": int(s.max()) & 0xFFFFFFFF,
            "redux_and_b32": np.bitwise_and.reduce(values),
            "redux_or_b32": np.bitwise_or.reduce(values),
            "redux_xor_b32": np.bitwise_xor.reduce(values),
        }
        for name, value in expected.items():
            for schedule in SCHEDULES:
                found = run(module, name, inputs, schedule=schedule)
                np.testing.assert_array_equal(found[0], np.broadcast_to(value, 32), err_msg=name)


def test_shuffles(load) -> None:
    kernels = []
    for mode, clamp in (("up", 0), ("down", 31), ("bfly", 31), ("idx", 31)):
        for width in (32, 16, 8):
            c = (32 - width) << 8 | clamp
            code = f"shfl.sync.{mode}.b32 %y0|%p1, %x0, %x1, {c}, 0xffffffff; selp.u32 %y1, 1, 0, %p1;"
            kernels.append(warp_kernel(f"{mode}_{width}", code, 2, 2))
    module = load(HEAD + "".join(kernels))
    values = np.random.default_rng(1).integers(0, 1 << 32, 32, dtype=np.uint32)
    for width in (32, 16, 8):
        for step in (0, 1, 2, 5, 9, 31):
            inputs = np.stack((values, np.full(32, step, np.uint32)))
            first = LANES & ~(width - 1)
            sources = {
                "up": (LANES - step, LANES - step >= first),
                "down": (LANES + step, LANES + step < first + width),
                "bfly": (LANES ^ step, (LANES ^ step) < first + width),
                "idx": (first | (step & (width - 1)), np.ones(32, bool)),
            }
            for mode, (source, inside) in sources.items():
                found = run(module, f"{mode}_{width}", inputs, 2)
                expected = values[np.where(inside, source, LANES) % 32]
                np.testing.assert_array_equal(found[0], expected, err_msg=f"{mode} {width} {step}")
                np.testing.assert_array_equal(found[1], inside, err_msg=f"{mode} {width} {step}")


def elements(words: np.ndarray, kind: str) -> np.ndarray:
    """Return words ``[rows, n]`` as integers ``[rows, n * per word]``, lowest bits first."""
    bits = {"b1": 1, "u4": 4, "s4": 4, "u8": 8, "s8": 8}[kind]
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    parts = ((words[..., None] >> shifts) & np.uint32((1 << bits) - 1)).astype(np.int64)
    if kind[0] == "s":
        parts = np.where(parts >= 1 << (bits - 1), parts - (1 << bits), parts)
    return parts.reshape(*words.shape[:-1], -1)


MMA = [
    *(
        (shape, "b1", "b1", f".{op}.popc")
        for shape in ("m8n8k128", "m16n8k128", "m16n8k256")
        for op in ("xor", "and")
    ),
    *(
        (shape, a, b, "")
        for shape in ("m8n8k16", "m16n8k16", "m16n8k32")
        for a, b in (("s8", "s8"), ("u8", "s8"))
    ),
    ("m16n8k64", "s4", "u4", ""),
]


def mma_name(shape: str, a: str, b: str, op: str) -> str:
    return f"mma_{shape}_{a}_{b}{op.replace('.', '_')}"


def mma_kernel(shape: str, a: str, b: str, op: str) -> str:
    rows, words = fragment(shape, a)
    na, nb, nc = rows * words, words, 2 * rows

    def regs(first: int, count: int, letter: str = "x") -> str:
        return "{" + ", ".join(f"%{letter}{first + i}" for i in range(count)) + "}"

    ops = f"{regs(0, nc, 'y')}, {regs(0, na)}, {regs(na, nb)}, {regs(na + nb, nc)}"
    code = f"mma.sync.aligned.{shape}.row.col.s32.{a}.{b}.s32{op} {ops};"
    return warp_kernel(mma_name(shape, a, b, op), code, na + nb + nc, nc)


def fragment(shape: str, kind: str) -> tuple[int, int]:
    m, k = shape[1:].split("n8k")
    return int(m) // 8, int(k) * {"1": 1, "4": 4, "8": 8}[kind[1:]] // 128


def test_matrix_products(load) -> None:
    module = load(HEAD + "".join(mma_kernel(*item) for item in MMA))
    rng = np.random.default_rng(2)
    group, k = LANES >> 2, LANES & 3
    for shape, a_kind, b_kind, op in MMA:
        rows, words = fragment(shape, a_kind)
        a = rng.integers(0, 1 << 32, (8 * rows, 4 * words), dtype=np.uint32)
        b = rng.integers(0, 1 << 32, (8, 4 * words), dtype=np.uint32)
        c = rng.integers(-(1 << 20), 1 << 20, (8 * rows, 8)).astype(np.int32)
        inputs = [a[group + 8 * r, k + 4 * w] for w in range(words) for r in range(rows)]
        inputs += [b[group, k + 4 * w] for w in range(words)]
        inputs += [c[group + 8 * r, 2 * k + i].view(np.uint32) for r in range(rows) for i in range(2)]
        found = run(module, mma_name(shape, a_kind, b_kind, op), np.stack(inputs), 2 * rows).view(np.int32)
        left, right = elements(a, a_kind), elements(b, b_kind)
        if "xor" in op:
            product = (left[:, None] ^ right[None]).sum(-1)
        else:
            product = left @ right.T
        for i in range(2 * rows):
            expected = (c + product)[group + 8 * (i >> 1), 2 * k + (i & 1)]
            np.testing.assert_array_equal(found[i], expected, err_msg=f"{shape} {a_kind}{op}")


def test_matrices_from_and_to_shared_memory(load) -> None:
    fill = (
        "mov.u32 %t0, tile; mad.lo.u32 %t0, %t31, 16, %t0; "
        "st.shared.v4.u32 [%t0], {%x0, %x1, %x2, %x3}; bar.warp.sync -1;"
    )
    kernels = [
        warp_kernel(
            f"ld_x{n}{trans}",
            f"{fill} ldmatrix.sync.aligned.m8n8.x{n}{'.trans' if trans else ''}.shared.b16 "
            f"{{{', '.join(f'%y{i}' for i in range(n))}}}, [%t0];",
            4,
            n,
        )
        for n in (1, 2, 4)
        for trans in ("", "_t")
    ]
    for trans in ("", "_t"):
        code = (
            f"mov.u32 %t0, tile; mad.lo.u32 %t0, %t31, 16, %t0; stmatrix.sync.aligned.m8n8.x4"
            f"{'.trans' if trans else ''}.shared.b16 [%t0], {{%x0, %x1, %x2, %x3}}; bar.warp.sync -1; "
            "ld.shared.v4.u32 {%y0, %y1, %y2, %y3}, [%t0];"
        )
        kernels.append(warp_kernel(f"st{trans}", code, 4, 4))
    kernels.append(warp_kernel("mov", "movmatrix.sync.aligned.m8n8.trans.b16 %y0, %x0;", 1, 1))
    module = load(HEAD + "".join(kernels))
    inputs = np.random.default_rng(4).integers(0, 1 << 32, (4, 32), dtype=np.uint32)
    tile = np.ascontiguousarray(inputs.T).view(np.uint16).reshape(4, 8, 8)  # matrix, row, column
    for n in (1, 2, 4):
        for m in range(n):
            words = np.ascontiguousarray(tile[m]).view(np.uint32).reshape(32)
            np.testing.assert_array_equal(run(module, f"ld_x{n}", inputs, n)[m], words)
            turned = np.ascontiguousarray(tile[m].T).view(np.uint32).reshape(32)
            np.testing.assert_array_equal(run(module, f"ld_x{n}_t", inputs, n)[m], turned)
    fragments = np.stack([np.ascontiguousarray(inputs[m]).view(np.uint16).reshape(8, 8) for m in range(4)])
    stored = fragments.reshape(32, 8).view(np.uint32).T
    np.testing.assert_array_equal(run(module, "st", inputs, 4), stored)
    turned = np.ascontiguousarray(fragments.transpose(0, 2, 1)).reshape(32, 8).view(np.uint32).T
    np.testing.assert_array_equal(run(module, "st_t", inputs, 4), turned)
    flipped = np.ascontiguousarray(fragments[0].T).view(np.uint32).reshape(1, 32)
    np.testing.assert_array_equal(run(module, "mov", inputs[:1], 1), flipped)


def test_a_thread_outside_its_mask_is_reported(load) -> None:
    module = load(HEAD + warp_kernel("k", "vote.sync.ballot.b32 %y0, 1, 0xfffffffe;"))
    with pytest.raises(
        emulator.EmulatorFault, match=r"mask: a thread is not in the mask.*\n.*thread \(0, 0, 0\)"
    ):
        run(module, "k", np.zeros((2, 32), np.uint32))


def test_a_missing_lane_is_a_deadlock(load) -> None:
    code = (
        "setp.eq.u32 %p1, %t31, 3; @%p1 bra.uni SKIP; "
        "vote.sync.ballot.b32 %y0, 1, -1; SKIP: bar.warp.sync -1;"
    )
    module = load(HEAD + warp_kernel("k", code))
    with pytest.raises(
        emulator.EmulatorFault, match=r"deadlock.*threads 0\.\.2 wait at vote\.sync.*3\.\.3 wait at bar"
    ):
        run(module, "k", np.zeros((2, 32), np.uint32))
