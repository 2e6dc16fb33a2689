"""C text that every emitter needs: types of values, pointers into the blob, the comment above a function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from bnncc.codegen.ctext import c_comment, c_identifier
from bnncc.diagnostics import NOWHERE
from bnncc.ir.graph import Node
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.types import ConstRef, Elem, TensorType, Value
from bnncc.ir.window import Border
from bnncc.targets.c.cut import NetworkCut

_NUMBERS_PER_LINE: Final = 24

ELEMENT_TYPES: Final = {
    Elem.U8: "uint8_t",
    Elem.I8: "int8_t",
    Elem.SIGN: "int8_t",
    Elem.I32: "int32_t",
    Elem.F32: "float",
}


def element_type(tensor: TensorType) -> str:
    """Return the C type that a value of this type is an array of; packed signs are bytes."""
    return "unsigned char" if tensor.layout.is_packed else ELEMENT_TYPES[tensor.elem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A generated function: its text, how it is called, and what it needs.

    Args:
        text: the definition.
        symbol: its name.
        operands: the values it reads, in the order of its parameters.
        scratch_bytes: of scratch memory; 0 where it takes none.
        has_blob: whether it reads the weights.
        is_shared: whether callers do it together, each a part of all images; else each takes whole images.
        headers: of ``templates/include/c`` that it uses.
        instances: layer functions that it calls: ``(kind, store, vectors)``.
    """

    text: str
    symbol: str
    operands: tuple[Value, ...]
    scratch_bytes: int = 0
    has_blob: bool = False
    is_shared: bool = False
    headers: tuple[str, ...] = ()
    instances: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """What all emitters share: the program, and the name of each node's function.

    Args:
        program: being emitted.
        symbols: of the functions, by the name of the node's result.
        word_bytes: of one word of packed signs in this form.
        chunk_images: how many images a call gets at most.
        cut: how the layers are cut.
    """

    program: KernelProgram
    symbols: dict[str, str] = field(repr=False)
    word_bytes: int
    chunk_images: int
    cut: NetworkCut = field(default_factory=NetworkCut)

    def symbol(self, node: Node) -> str:
        """Return the name of the function of ``node``."""
        return self.symbols[node.result.name]

    def blob_offset(self, ref: ConstRef) -> int:
        """Return where a constant lies in the weights blob."""
        return self.program.slice(ref).offset_bytes

    def pointer(self, ref: ConstRef | None, c_type: str) -> str:
        """Return a C expression that points to a constant; ``NULL`` for None."""
        return "NULL" if ref is None else f"(const {c_type} *)(blob + {self.blob_offset(ref)})"

    def bytes_pointer(self, ref: ConstRef | None) -> str:
        """Return a C expression that points to the bytes of a constant; ``NULL`` for None."""
        return "NULL" if ref is None else f"blob + {self.blob_offset(ref)}"


def class_tables(border: Border | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines of ``row_class`` and ``column_class``: their sum is the row of the border table."""
    if border is None:
        return (), ()
    return _lines(tuple(row * border.column_classes for row in border.rows)), _lines(border.columns)


def _lines(numbers: tuple[int, ...]) -> tuple[str, ...]:
    starts = range(0, len(numbers), _NUMBERS_PER_LINE)
    return tuple(", ".join(map(str, numbers[start : start + _NUMBERS_PER_LINE])) for start in starts)


def function_names(prefix: str, values: Iterable[Value]) -> dict[str, str]:
    """Return a C name for the function of each value, all different."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    prefix = f"net_{prefix}" if prefix.startswith("bnncc") else prefix  # bnncc_* are the hand-written parts
    for value in values:
        plain = f"{prefix}_{c_identifier(value.name)}"
        name, number = plain, 2
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        names[value.name] = name
    return names


def parameters(
    operands: tuple[tuple[str, Value], ...],
    result: Value,
    *,
    has_blob: bool,
    has_scratch: bool,
    is_shared: bool = False,
) -> tuple[str, ...]:
    """Return the parameter list of a node's function: blob, operands, ``y``, ``images``, share, scratch."""
    listed = [f"const {element_type(value.type)} *{name}" for name, value in operands]
    blob = ["const unsigned char *blob"] if has_blob else []
    scratch = ["unsigned char *scratch"] if has_scratch else []
    share = ["const bnncc_share *share"] if is_shared else []
    return (*blob, *listed, f"{element_type(result.type)} *y", "size_t images", *share, *scratch)


def origin(node: Node, what: str) -> str:
    """Return the comment above a function: its value, what it computes, and the source line."""
    place = "" if node.span == NOWHERE else f", from {node.span}"
    return c_comment(f"{node.result.name}: {what} -> {node.result.type}{place}")
