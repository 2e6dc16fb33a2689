"""Instructions that change no value: every form that compilers print, checked where they can be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc import emulator

from .test_memory import access

HINTS = (
    "prefetch.global.L1 [%d0];",
    "prefetch.global.L2 [%d0+4];",
    "prefetch.global.L2::evict_last [%d0];",
    "prefetch.global.L2::evict_normal [%d0];",
    "prefetch.L2 [%d0];",
    "prefetchu.L1 [%d0];",
    "cp.async.bulk.prefetch.L2.global [%d0], 64;",
    "cp.async.bulk.prefetch.L2.global.L2::cache_hint [%d0], 64, %d2;",
    "createpolicy.fractional.L2::evict_last.b64 %d2, 0f3F800000;",
    "createpolicy.fractional.L2::evict_first.L2::evict_unchanged.b64 %d2;",
    "createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %d2, [%d0], 32, 64;",
    "ld.global.nc.L1::no_allocate.L2::128B.u32 %r1, [%d0];",
    "ld.global.L1::evict_last.L2::cache_hint.u32 %r1, [%d0], %d2;",
    "ld.global.nc.L1::evict_first.L2::cache_hint.L2::256B.v4.u32 {%r1, %r2, %r3, %r4}, [%d0], %d2;",
    "ld.global.ca.u32 %r1, [%d0]; ld.global.cg.u32 %r1, [%d0]; ld.global.cs.u32 %r1, [%d0];",
    "st.global.L1::no_allocate.u32 [%d0+32], 5;",
    "st.global.cs.u32 [%d0+32], 5; st.global.wt.u32 [%d0+32], 5;",
    "griddepcontrol.wait; griddepcontrol.launch_dependents;",
)


@pytest.mark.parametrize("code", HINTS)
def test_hints(load, memory, code: str) -> None:
    module = load(access(code))
    module.launch("k", (1,), (1,), [memory.upload(np.zeros(16, np.uint32))])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("cp.async.bulk.prefetch.L2.global [%d0+4], 16;", "MISALIGNED"),
        ("cp.async.bulk.prefetch.L2.global [%d0], 8;", "MISALIGNED"),
        ("cp.async.bulk.prefetch.L2.global [%d0], 80;", "OUT_OF_BOUNDS"),
    ],
)
def test_a_bulk_prefetch_asks_for_what_is_there(load, memory, code: str, kind: str) -> None:
    module = load(access(code))
    with pytest.raises(emulator.EmulatorFault) as caught:
        module.launch("k", (1,), (1,), [memory.upload(np.zeros(16, np.uint32))])
    assert [finding.kind.name for finding in caught.value.findings] == [kind]


def branch(threads: int) -> str:
    """Return code whose first ``threads`` give registers away, and whose others take them."""
    return (
        f"setp.lt.u32 %p, %r0, {threads}; @%p bra LOW;\nsetmaxnreg.inc.sync.aligned.u32 232; bra.uni END;\n"
        "LOW: setmaxnreg.dec.sync.aligned.u32 24;\nEND:"
    )


REGISTERS = {
    "a warpgroup": ("setmaxnreg.dec.sync.aligned.u32 40;", 128, ""),
    "two warpgroups": (
        branch(128),
        256,
        "",
    ),
    "one warp only": (
        "setp.ge.u32 %p, %r0, 32; @%p bra END;\nsetmaxnreg.inc.sync.aligned.u32 232;\nEND:",
        128,
        "not executed by the whole warpgroup: warps 0 and 1 differ",
    ),
    "different ones": (
        branch(96),
        128,
        "warps 0 and 3 differ",
    ),
    "some lanes": (
        "setp.ge.u32 %p, %r0, 127; @%p bra END;\nsetmaxnreg.inc.sync.aligned.u32 232;\nEND:",
        128,
        "some of its threads have ended",
    ),
    "half a warpgroup": ("setmaxnreg.dec.sync.aligned.u32 40;", 64, "whole warpgroups of 128 threads"),
}


@pytest.mark.parametrize("name", REGISTERS)
def test_setmaxnreg(load, name: str) -> None:
    code, threads, expected = REGISTERS[name]
    module = load(access(code, ".reg .pred %p;"))
    for schedule in (emulator.Schedule.ascending(), emulator.Schedule.random(2)):
        options = emulator.LaunchOptions(schedule=schedule)
        if not expected:
            module.launch("k", (2,), (threads,), [None], options=options)
            continue
        with pytest.raises(emulator.EmulatorFault, match=expected):
            module.launch("k", (2,), (threads,), [None], options=options)


@pytest.mark.parametrize("count", [16, 23, 44, 264])
def test_the_count_of_setmaxnreg_is_checked(load, count: int) -> None:
    with pytest.raises(emulator.PtxError, match="multiple of 8 from 24 to 256"):
        load(access(f"setmaxnreg.dec.sync.aligned.u32 {count};"))
