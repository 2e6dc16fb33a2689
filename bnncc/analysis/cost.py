"""What each operation of a bit graph costs for one image: the one source of such numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from bnncc.analysis.summary import ELEMENT_BITS
from bnncc.ir import bit
from bnncc.ir.graph import const_refs, operands
from bnncc.ir.packing import packed_bytes_per_image
from bnncc.ir.types import Elem, TensorType, Value
from bnncc.ir.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Work and traffic of one operation for one image.

    Units:
        macs: one multiplication and one addition. ops: one rounded f32 operation. bits: as stored, padding
        bits of packed layouts included.
    """

    binary_macs: int = 0
    integer_macs: int = 0
    float_ops: int = 0
    weight_bits: int = 0
    input_bits: int = 0
    output_bits: int = 0

    def plus(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(
            binary_macs=self.binary_macs + other.binary_macs,
            integer_macs=self.integer_macs + other.integer_macs,
            float_ops=self.float_ops + other.float_ops,
            weight_bits=self.weight_bits + other.weight_bits,
            input_bits=self.input_bits + other.input_bits,
            output_bits=self.output_bits + other.output_bits,
        )


def costs(graph: bit.BitGraph) -> Mapping[str, Cost]:
    """Return the cost of every node by the name of its result."""
    return {node.result.name: cost(node) for node in graph.nodes}


def cost(node: bit.BitOp) -> Cost:
    """Return the cost of one operation."""
    macs = _macs(node)
    is_float = node.result.type.elem is Elem.F32 and not isinstance(node, bit.Layer)
    is_binary = operands(node)[0].type.elem is Elem.SIGN
    return Cost(
        binary_macs=macs if is_binary and not is_float else 0,
        integer_macs=macs if not is_binary and not is_float else 0,
        float_ops=2 * macs if is_float and macs else _float_ops(node),
        weight_bits=sum(ref.type.count * ELEMENT_BITS[ref.type.elem] for ref in const_refs(node)),
        input_bits=sum(stored_bits(value.type) for value in operands(node)),
        output_bits=stored_bits(node.result.type),
    )


def stored_bits(found: TensorType) -> int:
    """Return the bits of one image in its layout; a PLAIN sign is one byte."""
    if found.layout.is_packed:
        return 8 * packed_bytes_per_image(found)
    return found.count * (8 if found.elem is Elem.SIGN else ELEMENT_BITS[found.elem])


def _macs(node: bit.BitOp) -> int:
    match node:
        case bit.Conv2d(x=x, weight=weight, window=window):
            return weight.type.count * _pixels(window, x)
        case bit.Layer(x=x, weight=weight, window=window):
            return weight.type.count * (1 if window is None else _pixels(window, x))
        case bit.Dense(weight=weight):
            return weight.type.count
        case _:
            return 0


def _pixels(window: Window, x: Value) -> int:
    return prod(window.output_size(*x.type.spatial))


def _float_ops(node: bit.BitOp) -> int:
    match node:
        case bit.Affine() | bit.Layer(epilogue=bit.ToScores()):
            return 2 * node.result.type.count
        case bit.Prelu(before=before, after=after):
            return (1 + (before is not None) + (after is not None)) * node.result.type.count
        case bit.Relu() | bit.HardTanh() | bit.Add() if node.result.type.elem is Elem.F32:
            return node.result.type.count
        case _:
            return 0
