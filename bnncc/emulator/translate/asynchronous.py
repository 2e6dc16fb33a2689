"""What Hopper does asynchronously: mbarriers, bulk copies, proxy fences, warpgroup matrix instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bnncc.emulator.ptx.model import Integer, Name, Vector
from bnncc.emulator.translate.memory import copy, fence, global_address, shared_address, site
from bnncc.emulator.translate.operation import PRED, U32, U64, Operation

_SHARED: Final = ("shared", "shared::cta", "shared::cluster")
_WGMMA_N: Final = (8, 16, 24, 32, *range(48, 257, 16))
_BYTES: Final = {"u8": "WGMMA_U8", "s8": "WGMMA_S8"}
_EXPECT: Final = "mbarrier::complete_tx::bytes"


def _barrier_address(op: Operation, index: int) -> str:
    op.choice(*_SHARED)
    return f"mbarrier_at<G>(t, {shared_address(op, index)}, {op.line})"


def _mbarrier(op: Operation) -> str:
    op.ignore("acquire", "release", "cta", "cluster")
    if not op.has("b64"):
        raise op.error("the type .b64 is missing")
    what = op.choice(
        "init", "inval", "arrive", "arrive_drop", "expect_tx", "complete_tx", "test_wait", "try_wait"
    )
    if what in ("arrive", "arrive_drop"):
        return _arrive(op, is_drop=what == "arrive_drop")
    if what in ("test_wait", "try_wait"):
        return _wait(op, may_block=what == "try_wait")
    if what in ("expect_tx", "complete_tx"):
        op.ignore("relaxed")
        at = _barrier_address(op, 0)
        op.finish(2)
        sign = "" if what == "expect_tx" else "-"
        return f"emu_mbarrier_transaction(t, {at}, {sign}(s64){op.read(1, U32)}, {op.line});"
    op.choice(*_SHARED)
    op.finish(2 if what == "init" else 1)
    if what == "inval":
        return f"mbarrier_invalidate<G>(t, {shared_address(op, 0)}, {op.line});"
    return f"mbarrier_init<G>(t, {shared_address(op, 0)}, {op.read(1, U32)}, {op.line});"


def _arrive(op: Operation, *, is_drop: bool) -> str:
    op.ignore("relaxed")
    expects = op.has("expect_tx")
    # The token may be left out where the barrier is in another block of the cluster.
    first = 1 if isinstance(op.operand(0), Name) else 0
    at = _barrier_address(op, first)
    op.finish(first + 2 if expects else range(first + 1, first + 3))
    last = op.read(first + 1, U32) if len(op.operands) > first + 1 else "1u"
    count, expected = ("1u", last) if expects else (last, "0u")
    call = f"emu_mbarrier_arrive(t, {at}, {count}, {expected}, {int(is_drop)}, {op.line})"
    return op.write(0, U64, call) if first else f"{call};"


def _wait(op: Operation, *, may_block: bool) -> str:
    is_parity = op.has("parity")
    op.ignore("relaxed")
    at = _barrier_address(op, 1)
    op.finish(range(3, 5) if may_block else 3)
    phase = f"(u64){op.read(2, U32)}" if is_parity else op.read(2, U64)
    call = f"emu_mbarrier_wait(t, {at}, {phase}, {int(is_parity)}, {int(may_block)}, {op.line})"
    return op.write(0, PRED, f"({call} != 0)")


def _copy(op: Operation) -> str:
    modifiers = op.instruction.modifiers
    if "bulk" in modifiers:
        return _bulk(op)
    if "mbarrier" not in modifiers:
        return copy(op)
    for fixed in ("async", "mbarrier", "arrive"):
        op.choice(fixed)
    if not op.has("b64"):
        raise op.error("the type .b64 is missing")
    counts = int(op.has("noinc"))
    at = _barrier_address(op, 0)
    op.finish(1)
    return f"emu_mbarrier_after_copies(t, {at}, {counts}, {op.line});"


def _bulk(op: Operation) -> str:
    op.choice("async"), op.choice("bulk")
    if op.has("commit_group"):
        op.finish(0)
        return "emu_bulk_commit(t);"
    if op.has("wait_group"):
        is_read = int(op.has("read"))
        op.finish(1)
        return f"emu_bulk_wait(t, {op.constant(0)}, {is_read}, {op.line});"
    if op.has("prefetch"):
        op.choice("L2"), op.choice("global")
        op.finish(2 + op.has("L2::cache_hint"))
        return f"emu_bulk_prefetch(t, {site(op)}, {global_address(op, 0)}, {op.read(1, U32)}, {op.line});"
    is_load = op.has(_EXPECT)
    hint = op.has("L2::cache_hint")
    op.choice("global")
    if is_load:
        op.choice("shared::cta", "shared::cluster")
        op.finish(4 + hint)
        shared, size = shared_address(op, 0), op.read(2, U32)
        barrier = f"mbarrier_at<G>(t, {shared_address(op, 3)}, {op.line})"
        source = global_address(op, 1)
        return f"emu_bulk_load(t, {site(op)}, {shared}, {source}, {size}, {barrier}, {op.line});"
    op.choice("shared::cta")
    op.choice("bulk_group")
    op.finish(3 + hint)
    target, size = global_address(op, 0), op.read(2, U32)
    return f"emu_bulk_store(t, {site(op)}, {target}, {shared_address(op, 1)}, {size}, {op.line});"


def _fence(op: Operation) -> str:
    if op.has("proxy"):
        op.choice("async")
        op.ignore("global", *_SHARED)
        op.finish(0)
        return "emu_fence_proxy(t);"
    if op.has("mbarrier_init"):
        op.choice("release")
        op.choice("cluster")
        op.finish(0)
        return "emu_fence_proxy(t);"
    return fence(op)


def _wgmma(op: Operation) -> str:
    what = op.choice("mma_async", "fence", "commit_group", "wait_group")
    op.choice("sync"), op.choice("aligned")
    if what == "mma_async":
        return _wgmma_multiply(op)
    op.finish(1 if what == "wait_group" else 0)
    if what == "wait_group":
        return f"emu_wgmma_wait(t, {op.constant(0)}, {op.line});"
    return f"emu_wgmma_{'fence' if what == 'fence' else 'commit'}(t, {op.line});"


def _wgmma_elements(op: Operation) -> tuple[int, str, str, str]:
    """Return N, what the elements of A and B are, and whether sums saturate."""
    shape = next((m for m in op.instruction.modifiers if m.startswith("m64n")), "")
    columns, _, depth = shape.removeprefix("m64n").partition("k")
    if not shape or not columns.isdigit() or int(columns) not in _WGMMA_N:
        raise op.error("unsupported shape")
    op.has(shape)
    op.choice("s32")
    saturates = str(op.has("satfinite")).lower()
    if op.has("b1"):
        op.choice("b1"), op.choice("and"), op.choice("popc")
        first = second = "WGMMA_B1"
    else:
        elements = [m for m in op.instruction.modifiers if m in _BYTES]
        if len(elements) != 2:
            raise op.error("unsupported element types")
        op.has(elements[0]), op.has(elements[1])
        first, second = _BYTES[elements[0]], _BYTES[elements[1]]
    if depth != ("256" if first == "WGMMA_B1" else "32"):
        raise op.error("unsupported shape")
    return int(columns), first, second, saturates


def _wgmma_multiply(op: Operation) -> str:
    columns, first, second, saturates = _wgmma_elements(op)
    op.finish(4)
    registers = [op.scope.register(item.text) for item in op.registers(0)]
    if len(registers) != columns // 2 or any(item is None or item.type.bits != 32 for item in registers):
        raise op.error("the accumulator has the wrong registers")
    pointers = ", ".join(f"&{item.cpp}" for item in registers if item is not None)
    a = op.operand(1)
    is_in_registers = isinstance(a, Vector)
    words = [op.value(item, U32) for item in a.items] if isinstance(a, Vector) else []
    if is_in_registers and len(words) != 4:
        raise op.error("a fragment of the wrong length")
    descriptor = "0" if is_in_registers else op.read(1, U64)
    keeps = op.read(3, PRED)
    fields = [
        f"u32 *const at[] = {{{pointers}}};",
        f"WgmmaCall call = {{at, {descriptor}, {op.read(2, U64)}, {{{', '.join(words) or '0'}}},",
        f"{columns}, {op.line}, {first}, {second},",
        f"{str(is_in_registers).lower()}, {keeps}, {saturates}, t}};",
    ]
    return f"{{ {' '.join(fields)} emu_wgmma(t, &call); }}"


def _registers(op: Operation) -> str:
    op.choice("inc", "dec")
    op.choice("sync"), op.choice("aligned"), op.choice("u32")
    op.finish(1)
    count = op.operand(0)
    if not isinstance(count, Integer) or count.value % 8 or not 24 <= count.value <= 256:
        raise op.error("the number of registers is a multiple of 8 from 24 to 256")
    return f"emu_set_registers(t, {op.line});"


ASYNCHRONOUS: Final[Mapping[str, Callable[[Operation], str]]] = {
    "mbarrier": _mbarrier,
    "cp": _copy,
    "fence": _fence,
    "wgmma": _wgmma,
    "setmaxnreg": _registers,
}
"""Opcode to translation; copies and fences that are not asynchronous go on to ``memory``."""
