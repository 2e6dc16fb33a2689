"""Parts of buffers, races on global memory, memory that nothing wrote, flags between blocks."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc import emulator

from .test_memory import access


def test_regions_cut_a_buffer(load, memory) -> None:
    module = load(access("ld.global.u32 %r1, [%d0+60]; st.global.u32 [%d0+64], %r1;"))
    buffer = memory.upload(np.zeros(32, np.uint32))
    first = emulator.Region(address=buffer.address, size_bytes=64, is_writable=False)
    second = emulator.Region(address=buffer.address + 64, size_bytes=64)

    def launch(*regions: emulator.Region) -> None:
        module.launch("k", (1,), (1,), [buffer], options=emulator.LaunchOptions(regions=regions))

    launch()
    launch(first, second)
    with pytest.raises(emulator.EmulatorFault, match="that this launch only reads"):
        launch(first, emulator.Region(address=buffer.address + 64, size_bytes=64, is_writable=False))
    with pytest.raises(emulator.EmulatorFault, match=r"where no buffer is|of a buffer of 64 bytes"):
        launch(first)
    buffer.poison(57, 4)
    with pytest.raises(emulator.EmulatorFault, match="nothing has written: offset 60"):
        launch()


RACES = {
    "write, write": ("st.global.u32 [%d0], %r0;", "overwrites what was written by"),
    "neighbours": ("mad.wide.u32 %d1, %r0, 4, %d0; st.global.u32 [%d1], %r0;", ""),
    "bytes": ("cvt.u64.u32 %d1, %r0; add.u64 %d1, %d1, %d0; st.global.u8 [%d1], %r0;", ""),
    "write, read": (
        "mad.wide.u32 %d1, %r0, 4, %d0; st.global.u32 [%d1], %r0; ld.global.u32 %r1, [%d0];",
        "what was written by|what was read by",
    ),
    "barrier": (
        "mad.wide.u32 %d1, %r0, 4, %d0; st.global.u32 [%d1], %r0; bar.sync 0; ld.global.u32 %r1, [%d0];",
        "",
    ),
    "atomics": ("atom.global.add.u32 %r1, [%d0], 1;", ""),
    "atomic, plain": ("atom.global.add.u32 %r1, [%d0], 1; ld.global.u32 %r1, [%d0];", "race"),
}


def on_variable(code: str) -> str:
    """Return ``code`` on a variable of the module instead of the argument."""
    taken = f"mov.u64 %d0, counts; cvta.global.u64 %d0, %d0; {code}"
    return access(taken).replace(
        ".visible .entry", ".visible .global .align 4 .u32 counts[64] = {7};\n.visible .entry", 1
    )


@pytest.mark.parametrize("name", RACES)
def test_races_on_variables(load, memory, name: str) -> None:
    code, expected = RACES[name]
    module = load(on_variable(code))
    for schedule in (emulator.Schedule.ascending(), emulator.Schedule.random(3)):
        options = emulator.LaunchOptions(schedule=schedule)
        for _ in range(2):  # the launch before orders everything
            if not expected:
                module.launch("k", (1,), (64,), [None], options=options)
                continue
            with pytest.raises(emulator.EmulatorFault, match=expected) as caught:
                module.launch("k", (1,), (64,), [None], options=options)
            assert "of a variable of 256 bytes" in str(caught.value)
    buffer = memory.upload(np.zeros(4, np.uint32))  # beside a memory, whose cells come before
    if not expected:
        module.launch("k", (1,), (64,), [buffer])


def test_variables_begin_with_their_value(load) -> None:
    loads = "ld.global.u32 %r1, [%d0]; ld.global.u32 %r2, [%d0+252]; add.u32 %r1, %r1, %r2;"
    module = load(on_variable(f"{loads} st.global.u32 [%d0+4], %r1;"))
    module.launch("k", (1,), (1,), [None])
    assert np.frombuffer(module.read_variable("counts"), np.uint32)[:3].tolist() == [7, 7, 0]


@pytest.mark.parametrize("name", RACES)
def test_races_on_global_memory(load, memory, name: str) -> None:
    code, expected = RACES[name]
    module = load(access(code))
    for schedule in (emulator.Schedule.ascending(), emulator.Schedule.descending()):
        args = [memory.upload(np.zeros(64, np.uint32))]
        options = emulator.LaunchOptions(schedule=schedule)
        if not expected:
            module.launch("k", (1,), (64,), args, options=options)
            continue
        with pytest.raises(emulator.EmulatorFault, match=expected) as caught:
            module.launch("k", (1,), (64,), args, options=options)
        assert caught.value.findings[0].kind is emulator.FaultKind.RACE


FLAG = """
  mov.u32 %r2, %ctaid.x;
  setp.eq.u32 %p1, %r2, 0;
  @!%p1 bra TAKE;
  mad.wide.u32 %d1, %r0, 4, %d0;
  st.global.u32 [%d1+128], %r0;
  {together}
  {give}
  setp.ne.u32 %p1, %r0, 0;
  @%p1 ret;
  mov.u32 %r1, 1;
  {set}
  ret;
TAKE:
  setp.ne.u32 %p1, %r0, 0;
  @%p1 bra MEET;
SPIN:
  {look}
  setp.eq.u32 %p1, %r1, 0;
  @%p1 bra SPIN;
  {take}
MEET:
  bar.sync 0;
  ld.global.u32 %r1, [%d0+160];
  ret;
"""
RIGHT = {
    "together": "bar.sync 0;",
    "give": "fence.acq_rel.gpu;",
    "set": "st.volatile.global.u32 [%d0], %r1;",
    "look": "ld.volatile.global.u32 %r1, [%d0];",
    "take": "fence.acq_rel.gpu;",
}
FLAGS = {
    "fences": ({}, True),
    "release, acquire": (
        {
            "give": "",
            "set": "st.release.gpu.global.u32 [%d0], %r1;",
            "look": "ld.acquire.gpu.global.u32 %r1, [%d0];",
            "take": "",
        },
        True,
    ),
    "atomic": ({"set": "red.global.add.u32 [%d0], 1;"}, True),
    "no barrier": ({"together": ""}, False),
    "no fence before": ({"give": ""}, False),
    "no fence after": ({"take": ""}, False),
    "fence of the block": ({"give": "fence.acq_rel.cta;"}, False),
}


@pytest.mark.parametrize("name", FLAGS)
def test_flags_order_blocks(load, memory, name: str) -> None:
    changes, is_right = FLAGS[name]
    module = load(access(FLAG.format(**{**RIGHT, **changes}), ".reg .pred %p1;"))
    for seed in range(4):
        args = [memory.upload(np.zeros(64, np.uint32))]
        options = emulator.LaunchOptions(cooperative=True, schedule=emulator.Schedule.random(seed))
        if is_right:
            module.launch("k", (2,), (32,), args, options=options)
            continue
        with pytest.raises(emulator.EmulatorFault, match="global-memory race"):
            module.launch("k", (2,), (32,), args, options=options)


def test_findings_repeat_the_origin(load, memory) -> None:
    module = load(access("ld.global.u32 %r1, [%d0+64];"), origins={"k": "net.bnn:4:3"})
    with pytest.raises(emulator.EmulatorFault, match=r"from net\.bnn:4:3") as caught:
        module.launch("k", (1,), (1,), [memory.alloc(64)])
    assert caught.value.findings[0].origin == "net.bnn:4:3"


def test_a_shuffle_from_a_lane_that_is_not_there_is_reported(load, memory) -> None:
    module = load(access("shfl.sync.down.b32 %r1, %r0, 16, 31, -1; ret;"))
    with pytest.raises(emulator.EmulatorFault, match="does not take part") as caught:
        module.launch("k", (1,), (16,), [memory.alloc(64)])
    assert caught.value.findings[0].kind is emulator.FaultKind.MASK
