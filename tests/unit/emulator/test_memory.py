"""Spaces, vectors, atomics, barriers, asynchronous copies, and what goes wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc import emulator

from .ptx_kernels import HEAD

MODULE = (
    HEAD
    + """
.visible .const .align 4 .u32 table[4] = {3, 5, 0xFFFFFFFF, -2};
.global .align 8 .b8 bytes[8] = {1, 2, 3};
.visible .global .align 4 .u32 counter = 40;
.visible .global .align 8 .u64 pointer = generic(counter);
.extern .shared .align 16 .b8 dynamic[];
.shared .align 4 .u32 outer[32];

.func (.param .b32 result) twice(.param .b32 x)
{
  .reg .b32 %r<3>;
  ld.param.u32 %r1, [x];
  shl.b32 %r2, %r1, 1;
  st.param.b32 [result], %r2;
  ret;
}

.visible .entry spaces(.param .u64 .ptr .global .align 16 out, .param .align 8 .b8 pair[16], .param .f32 real)
{
  .local .align 16 .b8 depot[64];
  .reg .pred %p<4>;
  .reg .b16 %h<4>;
  .reg .b32 %r<32>;
  .reg .b64 %d<16>;
  .reg .f32 %f<4>;
  ld.param.u64 %d0, [out];
  cvta.to.global.u64 %d0, %d0;
  mov.u32 %r0, %tid.x;
  mul.wide.u32 %d1, %r0, 64;
  add.s64 %d1, %d0, %d1;
  // const, by name and through a register
  ld.const.u32 %r1, [table+4];
  mov.u64 %d2, table;
  ld.const.s32 %r2, [%d2+12];
  st.global.v2.u32 [%d1], {%r1, %r2};
  // initialised bytes; a signed byte into a 32-bit register
  ld.global.s8 %r3, [bytes+2];
  ld.global.u8 %h1, [bytes+7];
  cvt.u32.u16 %r4, %h1;
  st.global.v2.b32 [%d1+8], {%r3, %r4};
  // local, by offset and as a generic address
  mov.u64 %d3, depot;
  cvta.local.u64 %d4, %d3;
  st.local.v4.u32 [%d3+16], {%r1, %r2, %r3, %r0};
  ld.u32 %r5, [%d4+28];
  st.u16 [%d4+2], %h1;
  ld.local.u16 %h2, [depot+2];
  isspacep.local %p1, %d4;
  selp.u32 %r6, 1, 0, %p1;
  st.global.v2.u32 [%d1+16], {%r5, %r6};
  // shared of the module, generic; dynamic shared
  mov.u32 %r7, outer;
  mad.lo.u32 %r7, %r0, 4, %r7;
  st.shared.u32 [%r7], %r0;
  bar.sync 0;
  cvt.u64.u32 %d5, %r7;
  cvta.shared.u64 %d6, %d5;
  ld.u32 %r8, [%d6];
  mov.u32 %r9, dynamic;
  st.shared.u32 [dynamic+12], 9;
  isspacep.shared %p2, %d6;
  selp.u32 %r10, 1, 0, %p2;
  st.global.v2.u32 [%d1+24], {%r8, %r10};
  // parameters: a structure, a float
  ld.param.v2.u32 {%r11, %r12}, [pair+8];
  ld.param.f32 %f1, [real];
  st.global.v2.u32 [%d1+32], {%r11, %r12};
  st.global.f32 [%d1+40], %f1;
  // a call
  {
    .param .b32 argument;
    st.param.b32 [argument], %r0;
    .param .b32 answer;
    call.uni (answer), twice, (argument);
    ld.param.b32 %r13, [answer];
  }
  // a pointer in a variable
  ld.global.u64 %d7, [pointer];
  ld.global.u32 %r14, [%d7];
  st.global.L1::no_allocate.v2.b32 [%d1+48], {%r13, %r14};
  ret;
}

.visible .entry atomics(.param .u64 out)
{
  .reg .b32 %r<20>;
  .reg .b64 %d<6>;
  .reg .f32 %f<3>;
  ld.param.u64 %d0, [out];
  mov.u32 %r0, %tid.x;
  add.u32 %r1, %r0, 1;
  red.global.add.u32 [%d0], %r1;
  atom.global.add.s32 %r2, [%d0+4], -1;
  atom.global.and.b32 %r3, [%d0+8], 0xF0F;
  atom.global.or.b32 %r3, [%d0+12], %r1;
  atom.global.xor.b32 %r3, [%d0+16], %r1;
  atom.global.min.s32 %r3, [%d0+20], %r0;
  atom.global.max.u32 %r3, [%d0+24], %r0;
  atom.global.inc.u32 %r3, [%d0+28], 9;
  atom.global.dec.u32 %r3, [%d0+32], 9;
  atom.relaxed.gpu.global.cas.b32 %r3, [%d0+36], 5, %r1;
  mov.f32 %f1, 0f3F000000;
  red.global.add.f32 [%d0+40], %f1;
  atom.acq_rel.gpu.global.exch.b32 %r3, [%d0+44], 77;
  cvt.u64.u32 %d1, %r1;
  red.global.add.u64 [%d0+48], %d1;
  red.add.u32 [counter], 1;
  ret;
}

.visible .entry barriers(.param .u64 out)
{
  .reg .pred %p<4>;
  .reg .b32 %r<20>;
  .reg .b64 %d<6>;
  .shared .align 4 .b8 box[512];
  ld.param.u64 %d0, [out];
  mov.u32 %r0, %tid.x;
  mul.wide.u32 %d1, %r0, 16;
  add.s64 %d1, %d0, %d1;
  // the first half produces, the second consumes, through a barrier of its own
  mov.u32 %r1, box;
  and.b32 %r2, %r0, 63;
  mad.lo.u32 %r1, %r2, 4, %r1;
  setp.lt.u32 %p1, %r0, 64;
  mov.u32 %r3, 0;
  @!%p1 bra CONSUME;
  mul.lo.u32 %r4, %r0, %r0;
  st.shared.u32 [%r1], %r4;
  bar.arrive 1, 128;
  bra.uni JOIN;
CONSUME:
  bar.sync 1, 128;
  ld.shared.u32 %r3, [%r1];
JOIN:
  setp.eq.u32 %p2, %r2, 5;
  bar.red.popc.u32 %r5, 0, %p2;
  bar.red.or.pred %p3, 0, %p2;
  selp.u32 %r6, 1, 0, %p3;
  barrier.sync.aligned 0;
  barrier.red.and.pred %p3, 0, %p2;
  selp.u32 %r7, 1, 0, %p3;
  st.global.v4.u32 [%d1], {%r3, %r5, %r6, %r7};
  ret;
}
"""
)


def test_spaces_vectors_parameters_calls(load, memory) -> None:
    module = load(MODULE)
    out = memory.alloc(32 * 64)
    args = [out, np.array([1, 2, 3, 4], np.uint32).tobytes(), np.float32(2.5)]
    with pytest.raises(emulator.EmulatorFault, match="race"):  # every thread writes the same dynamic word
        module.launch("spaces", (1,), (32,), args, shared_bytes=16)
    options = emulator.LaunchOptions(raise_on_finding=False)
    report = module.launch("spaces", (1,), (32,), args, shared_bytes=16, options=options)
    assert [finding.kind for finding in report.findings] == [emulator.FaultKind.RACE]
    found = out.download(np.uint32, (32, 16))
    lanes = np.arange(32)
    columns = [5, 0xFFFFFFFE, 3, 0, lanes, 1, lanes, 1, 3, 4, 0x40200000, None, 2 * lanes, 40]
    for index, column in enumerate(columns):
        if column is not None:
            np.testing.assert_array_equal(found[:, index], np.broadcast_to(column, 32), err_msg=str(index))


def test_atomics(load, memory) -> None:
    module = load(MODULE)
    start = np.array([0, 100, 0xFFFF, 0, 0, 17, 3, 0, 0, 5, 0, 1, 0, 0], np.uint32)
    out = memory.upload(start)
    module.launch("atomics", (1,), (64,), [out])
    values = np.arange(1, 65)
    expected = [
        values.sum(),
        36,
        0xF0F,
        np.bitwise_or.reduce(values),
        np.bitwise_xor.reduce(values),
        0,
        63,
        64 % 10,
    ]
    expected += [0, 1, np.array(32.0, np.float32).view(np.uint32), 77, values.sum(), 0]
    dec = 0
    for _ in range(64):
        dec = 9 if dec == 0 or dec > 9 else dec - 1
    expected[8] = dec
    np.testing.assert_array_equal(out.download(np.uint32, 14), expected)
    assert np.frombuffer(module.read_variable("counter"), np.uint32)[0] == 104
    module.write_variable("counter", np.uint32(7).tobytes())
    assert module.read_variable("counter") == b"\x07\0\0\0"


@pytest.mark.parametrize(
    "schedule",
    [
        emulator.Schedule.ascending(),
        emulator.Schedule.descending(),
        *(emulator.Schedule.random(seed) for seed in range(1, 4)),
    ],
    ids=str,
)
def test_named_barriers_and_reductions(load, memory, schedule) -> None:
    module = load(MODULE)
    out = memory.alloc(128 * 16)
    module.launch("barriers", (1,), (128,), [out], options=emulator.LaunchOptions(schedule=schedule))
    found = out.download(np.uint32, (128, 4))
    squares = np.arange(64) ** 2
    np.testing.assert_array_equal(found[:, 0], np.concatenate((np.zeros(64), squares)))
    np.testing.assert_array_equal(found[:, 1:], np.broadcast_to([2, 1, 0], (128, 3)))


def access(code: str, registers: str = "") -> str:
    return (
        HEAD
        + f"""
.visible .entry k(.param .u64 out)
{{
  .reg .b32 %r<8>;
  .reg .b64 %d<8>;
  .shared .align 16 .b8 tile[64];
  .local .align 16 .b8 depot[32];
  {registers}
  ld.param.u64 %d0, [out];
  mov.u32 %r0, %tid.x;
  {code}
  ret;
}}
"""
    )


BAD = {
    "global load past the end": (
        "ld.global.u32 %r1, [%d0+64];",
        "OUT_OF_BOUNDS",
        "offset 64 of a buffer of 64 bytes",
    ),
    "global store before": ("st.global.u32 [%d0+-4], %r1;", "OUT_OF_BOUNDS", "global access of 4 bytes"),
    "half in": (
        "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d0+56];",
        "OUT_OF_BOUNDS",
        "offset 56 of a buffer of 64",
    ),
    "null": ("mov.u64 %d1, 0; ld.global.u32 %r1, [%d1];", "OUT_OF_BOUNDS", "where no buffer is"),
    "generic null": ("mov.u64 %d1, 0; ld.u32 %r1, [%d1+8];", "OUT_OF_BOUNDS", "where no buffer is"),
    "misaligned vector": ("ld.global.v2.u32 {%r1, %r2}, [%d0+4];", "MISALIGNED", "offset 4 of its buffer"),
    "shared past the end": ("st.shared.u32 [tile+64], %r1;", "OUT_OF_BOUNDS", "there are 64 bytes"),
    "shared misaligned": ("st.shared.v2.u32 [tile+4], {%r1, %r2};", "MISALIGNED", "shared access of 8 bytes"),
    "shared, generic": (
        "mov.u64 %d1, tile; cvta.shared.u64 %d1, %d1; st.u32 [%d1+80], 1;",
        "OUT_OF_BOUNDS",
        "offset 80",
    ),
    "local past the end": ("st.local.u32 [depot+32], %r1;", "OUT_OF_BOUNDS", "local access"),
    "const past the end": ("ld.const.u32 %r1, [%d0+64];", "OUT_OF_BOUNDS", "offset 64"),
    "never written": ("ld.shared.u32 %r1, [tile+8];", "UNINITIALIZED", "no thread of the block has written"),
    "trap": ("trap;", "TRAP", "trap"),
    "too many barriers": ("mov.u32 %r1, 16; bar.sync %r1;", "LAUNCH", "16 barriers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_accesses_are_named(load, memory, name: str) -> None:
    code, kind, text = BAD[name]
    ptx = access(code)
    module = load(ptx, name="bad.ptx")
    line = next(i for i, row in enumerate(ptx.splitlines(), 1) if row.strip() == code.strip())
    with pytest.raises(emulator.EmulatorFault, match="kernel 'k'") as caught:
        module.launch("k", (1,), (1,), [memory.alloc(64)])
    (finding,) = caught.value.findings
    assert finding.kind == emulator.FaultKind[kind]
    assert text in finding.text
    assert finding.place is not None
    assert finding.place.line == line
    assert (finding.block, finding.thread) == ((0, 0, 0), (0, 0, 0))


def test_every_thread_is_checked(load, memory) -> None:
    code = "mad.wide.u32 %d1, %r0, 4, %d0; ld.global.u32 %r1, [%d1];"
    module = load(access(code))
    module.launch("k", (1,), (16,), [memory.upload(np.zeros(16, np.uint32))])
    with pytest.raises(
        emulator.EmulatorFault, match=r"offset 64 of a buffer of 64(.|\n)*thread \(16, 0, 0\)"
    ):
        module.launch("k", (1,), (17,), [memory.upload(np.zeros(16, np.uint32))])


ARRIVE = """
  mov.u32 %r1, tile;
  and.b32 %r2, %r0, 31;
  mov.u64 %d1, 0;
  setp.lt.u32 %p1, %r0, 32;
  @!%p1 bra CONSUME;
  {before}
  bar.arrive 1, 64;
  {after}
  ret;
CONSUME:
  bar.sync 1, 64;
  ld.shared.u8 %r3, [%r1+3];
"""


def test_only_what_precedes_an_arrival_is_ordered_by_it(load, memory) -> None:
    write = "add.u32 %r1, %r1, %r2; st.shared.u8 [%r1], %r0;"
    for schedule in (
        emulator.Schedule.ascending(),
        emulator.Schedule.descending(),
        emulator.Schedule.random(1),
    ):
        options = emulator.LaunchOptions(schedule=schedule)
        good = load(access(ARRIVE.format(before=write, after=""), ".reg .pred %p<2>;"))
        good.launch("k", (1,), (64,), [memory.alloc(64)], options=options)
        bad = load(access(ARRIVE.format(before=write, after="st.shared.u8 [%r1], 1;"), ".reg .pred %p<2>;"))
        with pytest.raises(emulator.EmulatorFault, match="race"):
            bad.launch("k", (1,), (64,), [memory.alloc(64)], options=options)


OVERTAKE = """
  mov.u32 %r1, tile;
  setp.ne.u32 %p1, %r0, {writer};
  {narrow}
  @!%p1 st.shared.v4.u32 [%r1], {{%r0, %r0, %r0, %r0}};
  bar.sync 0;
  ld.shared.v4.u32 {{%r2, %r3, %r4, %r5}}, [%r1];
  vote.sync.ballot.b32 %r6, 1, -1;
  @!%p1 st.shared.v4.u32 [%r1], {{%r6, %r6, %r6, %r6}};
"""


@pytest.mark.parametrize(
    "narrow", ["", "@!%p1 st.shared.u8 [tile+48], 1;"], ids=["one cell", "sixteen cells"]
)
@pytest.mark.parametrize("writer", [0, 31])
def test_a_rendezvous_does_not_order_a_write_after_reads(load, memory, writer: int, narrow: str) -> None:
    code = OVERTAKE.format(writer=writer, narrow=narrow)
    registers = ".reg .pred %p<2>;"
    for schedule in (emulator.Schedule.ascending(), emulator.Schedule.descending()):
        options = emulator.LaunchOptions(schedule=schedule)
        with pytest.raises(emulator.EmulatorFault, match="overwrites what was read by thread"):
            load(access(code, registers)).launch("k", (1,), (32,), [memory.alloc(64)], options=options)
        fenced = code.replace("vote.sync.ballot.b32 %r6, 1, -1;", "bar.warp.sync -1;")
        load(access(fenced, registers)).launch("k", (1,), (32,), [memory.alloc(64)], options=options)


def test_freed_memory_is_out_of_bounds(load, memory) -> None:
    module = load(access("ld.global.u32 %r1, [%d0];"))
    buffer = memory.upload(np.zeros(16, np.uint32))
    module.launch("k", (1,), (1,), [buffer])
    memory.free(buffer)
    with pytest.raises(emulator.EmulatorFault, match="was freed"):
        module.launch("k", (1,), (1,), [buffer])
    options = emulator.LaunchOptions(memory=memory)
    with pytest.raises(emulator.EmulatorFault, match="where no buffer is"):
        module.launch("k", (1,), (1,), [buffer.address], options=options)


COPY = """
  mov.u32 %r1, tile;
  cp.async.ca.shared.global [%r1], [%d0], 16, {bytes};
  cp.async.commit_group;
  cp.async.ca.shared.global [%r1+16], [%d0+16], 4;
  cp.async.commit_group;
  {wait}
  ld.shared.v4.u32 {{%r2, %r3, %r4, %r5}}, [%r1];
  st.global.v4.u32 [%d0+32], {{%r2, %r3, %r4, %r5}};
"""


@pytest.mark.parametrize("schedule", [emulator.Schedule.ascending(), emulator.Schedule.descending()], ids=str)
def test_asynchronous_copies(load, memory, schedule) -> None:
    options = emulator.LaunchOptions(schedule=schedule)
    for wait in ("cp.async.wait_group 1;", "cp.async.wait_group 0;", "cp.async.wait_all;"):
        module = load(access(COPY.format(wait=wait, bytes=8)))
        out = memory.upload(np.arange(1, 17, dtype=np.uint32))
        module.launch("k", (1,), (1,), [out], options=options)
        np.testing.assert_array_equal(out.download(np.uint32, 4, 32), [1, 2, 0, 0])
    for wait in ("", "cp.async.wait_group 2;"):
        module = load(access(COPY.format(wait=wait, bytes=16)))
        with pytest.raises(emulator.EmulatorFault, match="unfinished copy"):
            module.launch("k", (1,), (1,), [memory.upload(np.arange(16, dtype=np.uint32))], options=options)


def test_narrow_neighbours_are_no_race(load, memory) -> None:
    code = "mov.u32 %r1, tile; add.u32 %r1, %r1, %r0; st.shared.u8 [%r1], %r0;"
    module = load(access(code))
    module.launch("k", (1,), (64,), [memory.alloc(64)])


def test_fresh_memory_is_junk(memory) -> None:
    first = memory.alloc(1 << 17).download(np.uint8, 1 << 17)
    assert (first >= 0x80).all()
    assert len(np.unique(first)) > 100
