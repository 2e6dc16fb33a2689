"""A network in numbers, layer by layer: the table that `bnncc summary` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bnncc.analysis.float_work import float_ops
from bnncc.ir import nn
from bnncc.ir.graph import const_refs, operands
from bnncc.ir.packing import packed_bytes_per_image
from bnncc.ir.text.syntax import snake_name
from bnncc.ir.types import Elem, Layout, TensorType, Value

ELEMENT_BITS: Final = {
    Elem.SIGN: 1,
    Elem.BOOL: 1,
    Elem.U8: 8,
    Elem.I8: 8,
    Elem.I32: 32,
    Elem.U32: 32,
    Elem.I64: 64,
    Elem.F32: 32,
    Elem.REAL: 32,
}
"""Bits of an element where it is stored; a real number is stored as f32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSummary:
    """One operation of the network.

    Args:
        name: of its result.
        op: its name in the language's terms: ``conv2d``.
        input_bits: precision of its first operand.
        output: its type.
        binary_parameters: parameters of one bit.
        real_parameters: parameters of 32 bits.
        binary_macs: multiply-accumulates of a sign with a sign, for one image.
        other_macs: all others.
    """

    name: str
    op: str
    input_bits: int
    output: TensorType
    binary_parameters: int
    real_parameters: int
    binary_macs: int
    other_macs: int

    @property
    def memory_bytes(self) -> int:
        """Return the size of its parameters, bits packed."""
        return -(-self.binary_parameters // 8) + 4 * self.real_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """What a packed layout stores of the results of all signs, for one image."""

    signs: int
    stored_bits: int

    @property
    def wasted_bits(self) -> int:
        """Return the bits that hold no sign."""
        return self.stored_bits - self.signs


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All layers of a network, their totals, and what padding costs in each packed layout.

    Args:
        float_ops: f32 operations of one image by the name of the value; what is not there is free.
    """

    name: str
    inputs: tuple[TensorType, ...]
    layers: tuple[LayerSummary, ...]
    float_ops: Mapping[str, int]
    padding: Mapping[Layout, Padding]

    @property
    def binary_parameters(self) -> int:
        """Return the number of parameters of one bit."""
        return sum(layer.binary_parameters for layer in self.layers)

    @property
    def real_parameters(self) -> int:
        """Return the number of parameters of 32 bits."""
        return sum(layer.real_parameters for layer in self.layers)

    @property
    def memory_bytes(self) -> int:
        """Return the size of all parameters, bits packed."""
        return sum(layer.memory_bytes for layer in self.layers)

    @property
    def float_memory_bytes(self) -> int:
        """Return the size of all parameters if each had 32 bits."""
        return 4 * (self.binary_parameters + self.real_parameters)

    @property
    def compression(self) -> float:
        """Return how many times smaller the packed parameters are."""
        return self.float_memory_bytes / self.memory_bytes if self.memory_bytes else 1.0

    @property
    def binary_macs(self) -> int:
        """Return the multiply-accumulates of signs with signs, for one image."""
        return sum(layer.binary_macs for layer in self.layers)

    @property
    def other_macs(self) -> int:
        """Return the other multiply-accumulates, for one image."""
        return sum(layer.other_macs for layer in self.layers)

    def __str__(self) -> str:
        from bnncc.analysis.summary_text import summary_text

        return summary_text(self)


def summarize(graph: nn.NnGraph) -> Summary:
    """Return the network in numbers; weights need not be bound."""
    seen: set[str] = set()
    layers: list[LayerSummary] = []
    for node in graph.nodes:
        refs = [ref for ref in const_refs(node) if ref.name not in seen]
        seen.update(ref.name for ref in refs)
        binary_macs, other_macs = _macs(node)
        layers.append(
            LayerSummary(
                name=node.result.name,
                op=snake_name(type(node)),
                input_bits=_input_bits(graph, operands(node)[0]),
                output=node.result.type,
                binary_parameters=sum(ref.type.count for ref in refs if ref.type.elem is Elem.SIGN),
                real_parameters=sum(ref.type.count for ref in refs if ref.type.elem is not Elem.SIGN),
                binary_macs=binary_macs,
                other_macs=other_macs,
            )
        )
    return Summary(
        name=graph.name,
        inputs=tuple(value.type for value in graph.inputs),
        layers=tuple(layers),
        float_ops=float_ops(graph),
        padding={layout: _padding(graph, layout) for layout in Layout if layout.is_packed},
    )


def _input_bits(graph: nn.NnGraph, x: Value) -> int:
    """Return the precision of ``x``: that of the pixels where it is only normalized."""
    match graph.producer(x):
        case nn.Normalize(x=source) | nn.Flatten(x=source) | nn.Dropout(x=source):
            return _input_bits(graph, source)
        case _:
            return ELEMENT_BITS[x.type.elem]


def _macs(node: nn.NnOp) -> tuple[int, int]:
    """Return the binary and the other multiply-accumulates of ``node`` for one image."""
    if not isinstance(node, (nn.Conv2d, nn.Dense)):
        return 0, 0
    output = node.result.type
    macs = node.weight.type.count * output.count // output.channels
    is_binary = node.x.type.elem is Elem.SIGN and node.weight.type.elem is Elem.SIGN
    return (macs, 0) if is_binary else (0, macs)


def _padding(graph: nn.NnGraph, layout: Layout) -> Padding:
    signs = [node.result.type for node in graph.nodes if isinstance(node, nn.Sign)]
    stored_bytes = sum(packed_bytes_per_image(replace(found, layout=layout)) for found in signs)
    return Padding(signs=sum(found.count for found in signs), stored_bits=8 * stored_bytes)
