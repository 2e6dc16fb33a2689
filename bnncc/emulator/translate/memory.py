"""Loads, stores, atomics, address conversions and asynchronous copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bnncc.emulator.ptx.model import SCALARS, Address, Instruction, Integer, Name, Negated, ScalarType
from bnncc.emulator.translate.operation import PRED, U32, U64, Operation

_SPACES: Final = ("global", "shared", "shared::cta", "local", "const", "param", "param::entry", "param::func")
_STORED: Final = ("global", "shared", "shared::cta", "local", "param", "param::func")
_UPDATED: Final = ("global", "shared", "shared::cta")
_WINDOWED: Final = ("global", "shared", "shared::cta", "local", "param", "param::entry")
_STRONG: Final = ("volatile", "relaxed", "acquire", "release", "acq_rel", "mmio")
_SCOPES: Final = ("cta", "gpu", "sys", "cluster")
_CACHE: Final = ("ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "weak", "unified")
_VECTORS: Final = {"v2": 2, "v4": 4, "v8": 8}
_REDUCTIONS: Final = ("and", "or", "xor", "add", "inc", "dec", "min", "max")


_NOT_SHARED: Final = ("global", "local", "const", "param", "param::entry", "param::func")
_NOT_GLOBAL: Final = ("shared", "shared::cta", "local", "const", "param", "param::entry", "param::func")


def access_bytes(instruction: Instruction, *, is_global: bool = False) -> int | None:
    """Return how many bytes ``instruction`` touches at once if that may be shared memory, else None.

    Args:
        instruction: what is looked at.
        is_global: whether global memory is meant, where copies do not count: they are 4 bytes and more.
    """
    modifiers = instruction.modifiers
    is_copy = instruction.opcode == "cp"
    if is_copy and is_global:
        return None
    if not is_copy and any(space in modifiers for space in (_NOT_GLOBAL if is_global else _NOT_SHARED)):
        return None
    match instruction.opcode:
        case "ld" | "st" | "atom" | "red":
            kind = SCALARS.get(modifiers[-1]) if modifiers else None
            count = next((n for name, n in _VECTORS.items() if name in modifiers), 1)
            return None if kind is None else kind.size_bytes * count
        case "mbarrier":
            return 8
        case "cp":
            return _copied_bytes(instruction)
        case _:
            return None


def _copied_bytes(instruction: Instruction) -> int | None:
    if "bulk" in instruction.modifiers:
        return 16
    if "mbarrier" in instruction.modifiers:
        return 8
    size = instruction.operands[2] if len(instruction.operands) > 2 else None
    return size.value if isinstance(size, Integer) else None


def _address(op: Operation, index: int, kind: ScalarType) -> str:
    operand = op.operand(index)
    if not isinstance(operand, Address):
        raise op.error("an address in brackets is needed")
    if isinstance(operand.base, Integer):
        return f"({kind.cpp}){operand.base.value + operand.offset}"
    name = operand.base.text
    place = op.scope.places.get(name)
    if place is None and kind == U32:  # a 64-bit register may hold an address of 32 bits
        register = op.scope.register(name)
        if register is not None and register.type.bits == 64:
            return f"(u32)({op.value(operand.base, U64)} + (u64){operand.offset}ll)"
    if place is None and kind == U64:
        register = op.scope.register(name)
        if register is not None and register.type.bits == 32:
            return f"((u64){op.value(operand.base, U32)} + (u64){operand.offset}ll)"
    base = op.value(operand.base, kind)
    return f"({kind.cpp})({base} + ({kind.cpp}){operand.offset}ll)" if operand.offset else base


def shared_address(op: Operation, index: int) -> str:
    """Return the offset in shared memory that operand ``index`` names."""
    return _address(op, index, U32)


def global_address(op: Operation, index: int) -> str:
    """Return the address in global memory that operand ``index`` names."""
    return _address(op, index, U64)


def site(op: Operation) -> str:
    """Return a fresh place where an instruction remembers the buffer it touched last."""
    op.sites += 1
    return "&SITE"


def pointer(
    op: Operation, index: int, space: str, size_bytes: int, *, access: str, strength: str = "ACCESS_PLAIN"
) -> str:
    """Return a C++ pointer to the checked ``[address]`` of operand ``index``."""
    tail = f"{op.line}, {strength}"
    match space.partition("::")[0]:
        case "shared" if access == "ACCESS_READ":
            return f"shared_read<{size_bytes}, G>(t, {_address(op, index, U32)}, {tail})"
        case "shared":
            return f"shared_write<{size_bytes}, G>(t, {_address(op, index, U32)}, {tail}, {access})"
        case "local":
            return f"local_access<{size_bytes}>(t, {_address(op, index, U32)}, {op.line})"
        case "const":
            return f"const_access<{size_bytes}>(t, {site(op)}, {_address(op, index, U64)}, {op.line})"
        case "global":
            place = f"{site(op)}, {_address(op, index, U64)}, {tail}, {access}"
            return f"global_access<{size_bytes}>(t, {place})"
        case _:
            place = f"{site(op)}, {_address(op, index, U64)}, {tail}, {access}"
            return f"generic_access<{size_bytes}, G>(t, {place})"


def _param_pointer(op: Operation, index: int, size_bytes: int) -> str:
    operand = op.operand(index)
    if not isinstance(operand, Address):
        raise op.error("an address in brackets is needed")
    place = op.scope.places.get(operand.base.text) if isinstance(operand.base, Name) else None
    if place is None or place.space != "param":
        return f"param_access<{size_bytes}>(t, {_address(op, index, U32)}, {op.line})"
    if operand.offset < 0 or operand.offset + size_bytes > place.size_bytes:
        raise op.error("an access beyond the parameter")
    if place.cpp:
        return f"({place.cpp} + {operand.offset})"
    return f"((char *)t->params + {place.offset + operand.offset})"


def _modifiers(op: Operation, spaces: tuple[str, ...]) -> tuple[str, list[str]]:
    strong = [name for name in _STRONG if op.has(name)]
    space = op.choice(*spaces, default="generic")
    op.ignore(*_SCOPES)
    op.ignore(*_CACHE)
    op.ignore_prefix("L1::", "L2::")
    return space, strong


def _load(op: Operation) -> str:
    kind = op.type()
    count = _VECTORS.get(op.choice(*_VECTORS, default=""), 1)
    plain = "ACCESS_CONSTANT" if "nc" in op.instruction.modifiers else "ACCESS_PLAIN"
    space, strong = _modifiers(op, _SPACES)
    strength = "ACCESS_STRONG" if strong else plain
    op.finish(range(2, 4))  # a third operand is a cache policy
    names = op.registers(0)
    if len(names) != count:
        raise op.error("the vector has the wrong length")
    size = kind.size_bytes * count
    if space.startswith("param"):
        at = _param_pointer(op, 1, size)
    else:
        at = pointer(op, 1, space, size, access="ACCESS_READ", strength=strength)
    raw = SCALARS[f"b{kind.bits}"] if kind.kind == "f" else kind
    parts = [
        op.assign(name, raw, f"load<{raw.cpp}>(at + {i * kind.size_bytes})", wider=True)
        for i, name in enumerate(names)
        if name.text != "_"
    ]
    spin = f"emu_spin(t, {op.line}); " if strong else ""
    taken = f"EMU_ACQUIRE(t, at, {int('acquire' in strong)}); " if strong else ""
    return f"{{ {spin}const char *at = {at}; (void)at; {taken}{' '.join(parts)} }}"


def _store(op: Operation) -> str:
    kind = op.type()
    count = _VECTORS.get(op.choice(*_VECTORS, default=""), 1)
    space, strong = _modifiers(op, _STORED)
    strength = "ACCESS_STRONG" if strong else "ACCESS_PLAIN"
    op.finish(range(2, 4))
    items = op.items(1)
    if len(items) != count:
        raise op.error("the vector has the wrong length")
    size = kind.size_bytes * count
    if space.startswith("param"):
        at = _param_pointer(op, 0, size)
    else:
        at = pointer(op, 0, space, size, access="ACCESS_WRITE", strength=strength)
    raw = SCALARS[f"b{kind.bits}"] if kind.kind == "f" else kind
    parts = [
        f"store<{raw.cpp}>(at + {i * kind.size_bytes}, ({raw.cpp})({op.value(item, raw, wider=True)}));"
        for i, item in enumerate(items)
    ]
    given = f"EMU_RELEASE(t, at, {int('release' in strong)}); " if strong else ""
    return f"{{ char *at = {at}; {given}{' '.join(parts)} }}"


def _atomic(op: Operation) -> str:
    has_result = op.instruction.opcode == "atom"
    kind = op.type_in("b32 b64 u32 s32 u64 s64 f32 f64")
    what = op.choice(*_REDUCTIONS, *(("exch", "cas") if has_result else ()))
    space, order = _modifiers(op, _UPDATED)
    acquires, releases = (int(bool({name, "acq_rel"} & set(order))) for name in ("acquire", "release"))
    op.ignore("noftz")
    first = 2 if has_result else 1
    has_third = what == "cas"
    op.finish(range(first + 1 + has_third, first + 3 + has_third))
    if kind.kind == "f" and what not in ("add", "exch"):
        raise op.error("unsupported on floats")
    value = op.read(first, kind)
    third = op.read(first + 1, kind) if has_third else f"({kind.cpp})0"
    at = pointer(op, first - 1, space, kind.size_bytes, access="ACCESS_UPDATE", strength="ACCESS_STRONG")
    orders = f"{op.line}, {acquires}, {releases}"
    call = f"atomic_update<{kind.cpp}>(t, {at}, ATOMIC_{what.upper()}, {value}, {third}, {orders})"
    return op.write(0, kind, call) if has_result else f"{call};"


def _cvta(op: Operation) -> str:
    op.type_in("u64")
    to = op.has("to")
    space = op.choice(*_WINDOWED, "const")
    op.finish(2)
    window = {"shared": "EMU_SHARED_WINDOW", "local": "EMU_LOCAL_WINDOW", "param": "EMU_PARAM_WINDOW"}.get(
        space.partition("::")[0]
    )
    value = op.read(1, U64)
    if window is None:
        return op.write(0, U64, value)
    base = f"((u64){window} << 32)"
    return op.write(0, U64, f"({value} - {base})" if to else f"({value} + {base})")


def _isspacep(op: Operation) -> str:
    space = op.choice(*_WINDOWED)
    op.finish(2)
    high = f"(u32)({op.read(1, U64)} >> 32)"
    windows = {"shared": "EMU_SHARED_WINDOW", "local": "EMU_LOCAL_WINDOW", "param": "EMU_PARAM_WINDOW"}
    window = windows.get(space.partition("::")[0])
    if window is not None:
        return op.write(0, PRED, f"({high} == {window})")
    others = " && ".join(f"{high} != {name}" for name in windows.values())
    return op.write(0, PRED, f"({others})")


def copy(op: Operation) -> str:
    """Return cp.async."""
    if not op.has("async"):
        raise op.error("only cp.async is supported")
    if op.has("commit_group"):
        op.finish(0)
        return "emu_copy_commit(t);"
    if op.has("wait_group"):
        op.finish(1)
        return f"emu_copy_wait(t, {op.constant(0)}, {op.line});"
    if op.has("wait_all"):
        op.finish(0)
        return f"emu_copy_commit(t); emu_copy_wait(t, 0, {op.line});"
    cache = op.choice("ca", "cg")
    op.choice("shared", "shared::cta")
    op.choice("global")
    hint = op.has("L2::cache_hint")
    op.ignore_prefix("L2::")
    op.finish(range(3, 6))
    size = op.constant(2)
    if size not in ((16,) if cache == "cg" else (4, 8, 16)):
        raise op.error(f"{size} bytes")
    source = f"{size}u"
    if len(op.operands) - hint > 3:
        source = _copy_source(op, size)
    shared, address = _address(op, 0, U32), _address(op, 1, U64)
    return f"copy_async<{size}, G>(t, {site(op)}, {shared}, {address}, {source}, {op.line});"


def _copy_source(op: Operation, size: int) -> str:
    operand = op.operand(3)
    is_flag = isinstance(operand, Negated)
    if isinstance(operand, Name):
        register = op.scope.register(operand.text)
        is_flag = register is not None and register.type.kind == "pred"
    return f"({op.read(3, PRED)} ? 0u : {size}u)" if is_flag else op.read(3, U32)


def fence(op: Operation) -> str:
    """Return fences and membar, of the generic proxy."""
    is_wide = not op.has("cta")
    op.ignore("sc", "acq_rel", "acquire", "release", "gl", *_SCOPES)
    op.finish(0)
    return f"emu_fence(t, {int(is_wide)});"


def _prefetch(op: Operation) -> str:
    op.ignore("global", "local", "L1", "L2", "L2::evict_last", "L2::evict_normal")
    op.finish(range(1, 3))
    return ";"


def _policy(op: Operation) -> str:
    op.type_in("b64")
    op.ignore("fractional", "range", "global", "cvt", "L2")
    op.ignore_prefix("L2::")
    op.finish(range(1, 5))
    return op.write(0, U64, "(u64)0")


MEMORY: Final[Mapping[str, Callable[[Operation], str]]] = {
    "ld": _load,
    "st": _store,
    "atom": _atomic,
    "red": _atomic,
    "cvta": _cvta,
    "isspacep": _isspacep,
    "cp": copy,
    "membar": fence,
    "fence": fence,
    "prefetch": _prefetch,
    "prefetchu": _prefetch,
    "createpolicy": _policy,
}
"""Opcode to translation."""
