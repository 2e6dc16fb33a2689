"""mbarriers and bulk copies, form by form."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc import emulator

from .ptx_kernels import HEAD

SCHEDULES = (
    emulator.Schedule.ascending(),
    emulator.Schedule.descending(),
    *(emulator.Schedule.random(seed) for seed in range(4)),
)


def kernel(code: str, count: int = 64, init: str = "fence.proxy.async;") -> str:
    """Return a kernel of 64 threads around ``code``: thread 0 has initialised the mbarrier at ``bar``."""
    return (
        HEAD
        + f"""
.visible .entry k(.param .u64 pin, .param .u64 pout)
{{
  .shared .align 16 .b8 tile[256];
  .shared .align 8 .b8 bar[8];
  .reg .pred %p, %first, %q;
  .reg .b32 %r<8>, %t, %b, %s;
  .reg .b64 %d<8>, %token, %in, %out;
  mov.u32 %t, %tid.x;
  mov.u32 %b, bar;
  mov.u32 %s, tile;
  ld.param.u64 %in, [pin];
  ld.param.u64 %out, [pout];
  mad.wide.u32 %d0, %t, 4, %out;
  mad.lo.u32 %r0, %t, 4, %s;
  setp.eq.u32 %first, %t, 0;
  @%first mbarrier.init.shared::cta.b64 [%b], {count};
  @%first {init}
  bar.sync 0;
  {code}
  ret;
}}
"""
    )


LOOP = "WAIT: {wait} @!%p bra WAIT;"
EXCHANGE = """
  st.shared.u32 [%r0], %t;
  {arrive}
  {wait}
  xor.b32 %r1, %r0, 252;
  ld.shared.u32 %r2, [%r1];
  st.global.u32 [%d0], %r2;
"""
TOKEN = "mbarrier.arrive.shared::cta.b64 %token, [%b];"
BY_HAND = """
  @%first mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%b], 16;
  mbarrier.arrive.shared.b64 _, [%b];
  @%first mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%b], 16;
"""
FORMS = {
    "token, test_wait": (TOKEN, "mbarrier.test_wait.shared::cta.b64 %p, [%b], %token;", 64),
    "token, try_wait": (TOKEN, "mbarrier.try_wait.shared.b64 %p, [%b], %token;", 64),
    "parity": (
        "mbarrier.arrive.shared.b64 _, [%b];",
        "mbarrier.test_wait.parity.shared.b64 %p, [%b], 0;",
        64,
    ),
    "with a hint": (TOKEN, "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p, [%b], 0, 100;", 64),
    "counts": (
        "mbarrier.arrive.release.cta.shared::cta.b64 _, [%b], 2;",
        "mbarrier.test_wait.parity.shared.b64 %p, [%b], 0;",
        128,
    ),
    "drop": (
        "mbarrier.arrive_drop.shared::cta.b64 _, [%b];",
        "mbarrier.test_wait.parity.shared.b64 %p, [%b], 0;",
        64,
    ),
    "bytes by hand": (
        BY_HAND,
        "mbarrier.test_wait.parity.shared.b64 %p, [%b], 0;",
        64,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_arrivals_and_waits_order(load, memory, name: str) -> None:
    arrive, wait, count = FORMS[name]
    right = load(kernel(EXCHANGE.format(arrive=arrive, wait=LOOP.format(wait=wait)), count))
    wrong = load(kernel(EXCHANGE.format(arrive=arrive, wait=""), count))
    for schedule in SCHEDULES:
        options = emulator.LaunchOptions(schedule=schedule)
        out = memory.alloc(256)
        right.launch("k", (1,), (64,), [memory.alloc(256), out], options=options)
        np.testing.assert_array_equal(out.download(np.uint32, 64), np.arange(64)[::-1])
        with pytest.raises(emulator.EmulatorFault, match=r"race|no thread of the block"):
            wrong.launch("k", (1,), (64,), [memory.alloc(256), out], options=options)


COPY = """
  @!%first bra TAKE;
  mbarrier.arrive.expect_tx.shared::cta.b64 _, [%b], {expected};
  cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%s{to}], [%in{source}], {size}, [%b];
TAKE:
  {wait}
  ld.shared.u32 %r2, [%r0];
  st.global.u32 [%d0], %r2;
"""
RIGHT = {
    "expected": "256",
    "to": "",
    "source": "",
    "size": "256",
    "wait": LOOP.format(wait="mbarrier.try_wait.parity.shared::cta.b64 %p, [%b], 0;"),
}


def test_bulk_copies_land_at_the_wait(load, memory) -> None:
    module = load(kernel(COPY.format(**RIGHT), 1))
    words = np.random.default_rng(0).integers(0, 1 << 32, 64, dtype=np.uint32)
    for schedule in SCHEDULES:
        out = memory.alloc(256)
        options = emulator.LaunchOptions(schedule=schedule)
        report = module.launch("k", (1,), (64,), [memory.upload(words), out], options=options)
        np.testing.assert_array_equal(out.download(np.uint32, 64), words)
        assert report.copies == 1


BAD = {
    "too few bytes expected": ({"expected": "128"}, "livelock"),
    "too many bytes expected": ({"expected": "512"}, "livelock"),
    "misaligned": ({"source": "+8"}, "multiples of 16"),
    "odd size": ({"size": "248"}, "multiples of 16"),
    "beyond the buffer": ({"source": "+16"}, "out_of_bounds: global"),
    "beyond shared memory": ({"to": "+32"}, "out_of_bounds: shared"),
    "nobody waits": ({"wait": ""}, "unfinished copy|no thread of the block|still writes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bulk_copies_that_are_wrong(load, memory, name: str) -> None:
    changes, expected = BAD[name]
    module = load(kernel(COPY.format(**{**RIGHT, **changes}), 1))
    with pytest.raises(emulator.EmulatorFault, match=expected):
        module.launch("k", (1,), (64,), [memory.upload(np.zeros(64, np.uint32)), memory.alloc(256)])


MISUSES = {
    "arrivals": ("mbarrier.arrive.shared.b64 _, [%b];", "more arrivals"),
    "no init": ("@%first mbarrier.arrive.shared.b64 _, [%s];", "no mbarrier|no thread of the block"),
    "invalidated": (
        "@%first mbarrier.inval.shared::cta.b64 [%b]; bar.sync 0; mbarrier.arrive.shared.b64 _, [%b];",
        "no mbarrier",
    ),
    "overwritten": ("st.shared.u32 [%b], %t;", "race"),
    "parity": (
        "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p, [%b], 0; @!%p bra WAIT;",
        "livelock",
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuses_of_mbarriers(load, memory, name: str) -> None:
    code, expected = MISUSES[name]
    module = load(kernel(code, 1 if name == "arrivals" else 64).replace("[%b], 1;", "[%b], 40;"))
    if name == "arrivals":  # 64 arrivals of 40 complete one phase, the rest is the next: allowed
        module.launch("k", (1,), (64,), [memory.alloc(256), memory.alloc(256)])
        module = load(kernel("@%first mbarrier.arrive.shared.b64 _, [%b], 3;", 2))
    with pytest.raises(emulator.EmulatorFault, match=expected):
        module.launch("k", (1,), (64,), [memory.alloc(256), memory.alloc(256)])


def test_an_mbarrier_must_be_shown_to_copies(load, memory) -> None:
    module = load(kernel(COPY.format(**RIGHT), 1, init="bar.warp.sync 1;"))
    with pytest.raises(emulator.EmulatorFault, match="whose init no fence") as caught:
        module.launch("k", (1,), (64,), [memory.upload(np.zeros(64, np.uint32)), memory.alloc(256)])
    assert caught.value.findings[0].kind is emulator.FaultKind.FENCE
