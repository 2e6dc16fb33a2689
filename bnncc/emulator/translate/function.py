"""A function body to C++ text, and the memory it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bnncc.emulator.ptx.model import (
    BranchTargets,
    Function,
    Instruction,
    Label,
    Name,
    PtxError,
    Registers,
    Statement,
    Variable,
    Vector,
)
from bnncc.emulator.ptx.model import (
    Scope as Block,
)
from bnncc.emulator.translate.asynchronous import ASYNCHRONOUS
from bnncc.emulator.translate.collectives import COLLECTIVES
from bnncc.emulator.translate.control import CONTROL
from bnncc.emulator.translate.floats import FLOATS
from bnncc.emulator.translate.integers import INTEGERS
from bnncc.emulator.translate.matrices import MATRICES
from bnncc.emulator.translate.memory import MEMORY, access_bytes
from bnncc.emulator.translate.operation import PRED, Operation
from bnncc.emulator.translate.scope import Place, Scope, identifier

EMITTERS: Final = {**INTEGERS, **FLOATS, **MEMORY, **CONTROL, **COLLECTIVES, **MATRICES, **ASYNCHRONOUS}
"""Every opcode this emulator knows."""

_POISON: Final = {
    "bool": "false",
    "u8": "0xA5",
    "u16": "0xA5C3",
    "u32": "0xA5C396E1u",
    "u64": "0xA5C396E1D2B478F0ull",
}
_FRAME_BYTES: Final = 48 << 10
_DYNAMIC_ALIGN: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionOptions:
    """What a function must know of its module.

    Args:
        granularity: the size of a shadow cell of shared memory, or 0 for the kernel's own.
        global_granularity: the same of global memory.
    """

    variables: Mapping[str, Place]
    functions: frozenset[str]
    granularity: int
    global_granularity: int
    first_site: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedFunction:
    """The C++ of one function.

    Args:
        shared_bytes: static shared memory; dynamic shared memory starts here.
        sites: how many entries of the table of remembered buffers it uses, from ``first_site`` on.
    """

    text: str
    shared_bytes: int
    local_bytes: int
    stack_bytes: int
    granularity: int
    global_granularity: int
    sites: int


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Yield all statements, those of inner blocks included."""
    for statement in body:
        if isinstance(statement, Block):
            yield from walk(statement.body)
        else:
            yield statement


def granularity(function: Function) -> int:
    """Return the width of the narrowest access to shared memory, at most 16; 4 where there is none."""
    widths = [
        width
        for statement in walk(function.body or ())
        if isinstance(statement, Instruction) and (width := access_bytes(statement)) is not None
    ]
    return min((*widths, 16)) if widths else 4


def global_granularity(function: Function) -> int:
    """Return the width of the narrowest access to global memory, at most 4."""
    widths = [
        width
        for statement in walk(function.body or ())
        if isinstance(statement, Instruction)
        and (width := access_bytes(statement, is_global=True)) is not None
    ]
    return min((*widths, 4))


def _names(function: Function) -> set[str]:
    """Return every name that an operand mentions."""
    found: set[str] = set()
    for statement in walk(function.body or ()):
        if isinstance(statement, Instruction):
            for operand in statement.operands:
                base = getattr(operand, "base", operand)
                if isinstance(base, Name):
                    found.add(base.text)
    return found


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align


def _shared_places(function: Function, module: tuple[Variable, ...]) -> tuple[dict[str, Place], int]:
    """Return where shared variables lie, and where the dynamic part starts."""
    own = [
        item for item in walk(function.body or ()) if isinstance(item, Variable) and item.space == "shared"
    ]
    mentioned = _names(function)
    outer = [
        item
        for item in module
        if item.space == "shared" and (item.name in mentioned or not function.is_entry)
    ]
    places: dict[str, Place] = {}
    offset = 0
    dynamic = [item for item in (*own, *outer) if item.count is None]
    for item in (*outer, *own):
        if item.count is not None:
            offset = _aligned(offset, item.align_bytes)
            places[item.name] = Place("shared", offset, item.size_bytes)
            offset += item.size_bytes
    offset = _aligned(offset, max([_DYNAMIC_ALIGN, *(item.align_bytes for item in dynamic)]))
    for item in dynamic:
        places[item.name] = Place("shared", offset, 0)
    return places, offset if dynamic or places else 0


def _local_places(function: Function) -> tuple[dict[str, Place], int]:
    places: dict[str, Place] = {}
    offset = 0
    for item in walk(function.body or ()):
        if isinstance(item, Variable) and item.space == "local":
            offset = _aligned(offset, item.align_bytes)
            places[item.name] = Place("local", offset, item.size_bytes)
            offset += item.size_bytes
    return places, _aligned(offset, 16)


def parameter_offsets(parameters: tuple[Variable, ...]) -> tuple[tuple[int, ...], int]:
    """Return where each parameter of a kernel lies, and how many bytes they take together."""
    offsets = []
    offset = 0
    for item in parameters:
        offset = _aligned(offset, item.align_bytes)
        offsets.append(offset)
        offset += item.size_bytes
    return tuple(offsets), offset


def _parameter_places(function: Function) -> dict[str, Place]:
    if not function.is_entry:
        items = (*function.results, *function.parameters)
        return {item.name: Place("param", 0, item.size_bytes, identifier(item.name)) for item in items}
    offsets, _ = parameter_offsets(function.parameters)
    return {
        item.name: Place("param", offset, item.size_bytes)
        for item, offset in zip(function.parameters, offsets, strict=True)
    }


class _Writer:
    """Collects the C++ lines of one body."""

    def __init__(self, scope: Scope, module: str, first_site: int) -> None:
        self.scope = scope
        self.module = module
        self.lines: list[str] = []
        self.first_site = first_site
        self.sites = 0
        self.accumulators: frozenset[str] = frozenset()

    def block(self, body: tuple[Statement, ...]) -> None:
        """Write the statements of one block."""
        self.scope.enter([item.name for item in body if isinstance(item, Label)])
        for item in body:
            if isinstance(item, BranchTargets):
                self.scope.targets[item.name] = item.labels
        for item in body:
            self._statement(item)
        self.scope.leave()

    def _statement(self, item: Statement) -> None:
        match item:
            case Instruction():
                self.lines.append(self._instruction(item))
            case Label(name=name):
                label = self.scope.label(name) or ""
                self.scope.emitted_labels.add(label)
                self.lines.append(f"{label}:;")
            case Registers():
                self.scope.declare(item)
            case Block(body=body):
                self.lines.append("{")
                self.block(body)
                self.lines.append("}")
            case Variable(space="param"):  # the arguments of a call
                name = identifier(item.name)
                self.scope.places[item.name] = Place("param", 0, item.size_bytes, name)
                self.lines.append(f"alignas(16) char {name}[{item.size_bytes}];")
            case Variable(space="global" | "const"):
                raise PtxError("global variables inside functions", name=self.module, line=item.line)
            case Variable() | BranchTargets():
                pass

    def _instruction(self, item: Instruction) -> str:
        operation = Operation(item, self.scope, self.module)
        emitter = EMITTERS.get(item.opcode)
        if emitter is None:
            raise operation.error(f"unknown instruction '{item.opcode}'")
        text = emitter(operation)
        for _ in range(operation.sites):
            text = text.replace("&SITE", f"emu_sites + {self.first_site + self.sites}", 1)
            self.sites += 1
        if item.opcode != "wgmma":
            text = self._accumulator_checks(item) + text
        if item.guard is not None:
            condition = operation.value(item.guard.register, PRED)
            text = f"if ({'!' if item.guard.negated else ''}{condition}) {{ {text} }}"
        return f"  {text}  // {item.line}"

    def _accumulator_checks(self, item: Instruction) -> str:
        """Return calls that complain where ``item`` uses an accumulator that a wgmma still owns."""
        used = self.accumulators.intersection(_registers_of(item)) if self.accumulators else ()
        found = [self.scope.register(name) for name in sorted(used)]
        return "".join(
            f"if (EMU_UNLIKELY(t->wgmma_in_flight)) emu_wgmma_touch(t, &{register.cpp}, {item.line}); "
            for register in found
            if register is not None
        )


def _registers_of(item: Instruction) -> Iterator[str]:
    """Yield the names in the operands of ``item``."""
    for operand in item.operands:
        for part in operand.items if isinstance(operand, Vector) else (operand,):
            if isinstance(part, Name):
                yield part.text


def _accumulators(function: Function) -> frozenset[str]:
    """Return the registers that wgmma writes."""
    return frozenset(
        part.text
        for statement in walk(function.body or ())
        if isinstance(statement, Instruction) and statement.opcode == "wgmma" and statement.operands
        for part in (statement.operands[0].items if isinstance(statement.operands[0], Vector) else ())
        if isinstance(part, Name)
    )


def translate_function(
    function: Function, module_variables: tuple[Variable, ...], module_name: str, *, options: FunctionOptions
) -> TranslatedFunction:
    """Return the C++ of ``function``.

    Raises:
        PtxError: an instruction, modifier or operand that is not understood.
    """
    shared, shared_bytes = _shared_places(function, module_variables)
    local, local_bytes = _local_places(function)
    places = {**options.variables, **shared, **local, **_parameter_places(function)}
    scope = Scope(places, options.functions, not function.is_entry)
    writer = _Writer(scope, module_name, options.first_site)
    writer.accumulators = _accumulators(function)
    writer.block(function.body or ())
    by_type: dict[str, list[str]] = {}
    for register in scope.used.values():
        by_type.setdefault(register.type.storage, []).append(register.cpp)
    declared = [
        f"  {kind} {', '.join(f'{name} = {_POISON[kind]}' for name in names)};"
        for kind, names in by_type.items()
    ]
    size = options.granularity or granularity(function)
    head = f"enum : u32 {{ G = {size} }};"
    lines = [
        f"{signature(function)} {{",
        f"  {head}",
        "  bool carry = false; (void)carry;",
        *declared,
        *writer.lines,
    ]
    stack = _FRAME_BYTES + 16 * len(scope.used)
    return TranslatedFunction(
        text="\n".join((*lines, "}")),
        shared_bytes=shared_bytes,
        local_bytes=local_bytes,
        stack_bytes=stack,
        granularity=size,
        global_granularity=options.global_granularity or global_granularity(function),
        sites=writer.sites,
    )


def signature(function: Function) -> str:
    """Return the head of the C++ function."""
    if function.is_entry:
        return f'extern "C" void emu_kernel_{identifier(function.name)}(Thread *const t)'
    names = [identifier(item.name) for item in (*function.results, *function.parameters)]
    arguments = ", ".join(["Thread *const t", *(f"char *{name}" for name in names)])
    return f"static __attribute__((noinline)) void emu_function_{identifier(function.name)}({arguments})"
