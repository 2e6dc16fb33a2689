"""Which integers each value of a bit graph can hold, and whether 32 bits are enough for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

import numpy as np

from bnncc.diagnostics import Diagnostic
from bnncc.ir import bit
from bnncc.ir.graph import Array
from bnncc.ir.types import ConstRef, Elem, TensorType


@dataclass(frozen=True, slots=True)
class Interval:
    """All integers from ``low`` to ``high``, both included."""

    low: int
    high: int

    def union(self, other: Interval) -> Interval:
        """Return the smallest interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def scaled(self, factor: int) -> Interval:
        """Return the interval of the products with ``factor``."""
        ends = self.low * factor, self.high * factor
        return Interval(min(ends), max(ends))

    def plus(self, other: Interval) -> Interval:
        """Return the interval of the sums."""
        return Interval(self.low + other.low, self.high + other.high)


INT32 = Interval(-(2**31), 2**31 - 1)
Ranges = Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class SumTooLarge(Diagnostic):
    """The sums of a layer can leave 32 bits.

    Sums are computed exactly, in 32-bit integers, so the compiler proves beforehand that the largest
    possible one fits.

    Why:
        The layer adds very many inputs, or 'normalize' has constants with many digits, so that its
        numbers over a common denominator are large.

    Example:
        input x: u8[9000000] -> dense(10) -> output sums

    Fix:
        Divide the layer, or round the constants of 'normalize' to fewer digits.
    """

    code: ClassVar[str] = "E0290"
    value: str
    low: int
    high: int

    @property
    def headline(self) -> str:
        """Return the problem with the layer's name."""
        return f"The sums of '{self.value}' can leave the range of 32-bit integers."

    @property
    def label(self) -> str:
        """Return the range."""
        return f"they reach from {self.low} to {self.high}"

    @property
    def hints(self) -> tuple[str, ...]:
        """Return what to change."""
        return ("use fewer inputs a layer, or constants with fewer digits in 'normalize'.",)


def ranges(graph: bit.BitGraph) -> Ranges:
    """Return the interval of every integer value of ``graph``, by name; real and f32 values have none."""
    found: dict[str, Interval] = {}
    for value in graph.inputs:
        own = element_range(value.type)
        if own is not None:
            found[value.name] = own
    for node in graph.nodes:
        interval = _node_range(node, graph, found)
        if interval is not None:
            found[node.result.name] = interval
    return found


def too_large(graph: bit.BitGraph) -> tuple[Diagnostic, ...]:
    """Return a diagnostic for every value that may leave 32 bits."""
    found = ranges(graph)
    problems: list[Diagnostic] = []
    for node in graph.nodes:
        interval = found.get(node.result.name)
        if interval is not None and interval.union(INT32) != INT32:
            problems.append(
                SumTooLarge(span=node.span, value=node.result.name, low=interval.low, high=interval.high)
            )
    return tuple(problems)


def element_range(found: TensorType) -> Interval | None:  # noqa: PLR0911 -- one branch an element
    """Return what an element can hold by its type alone; None for real and f32."""
    match found.elem:
        case Elem.SIGN:
            return Interval(-1, 1)
        case Elem.BOOL:
            return Interval(0, 1)
        case Elem.U8:
            return Interval(0, 255)
        case Elem.I8:
            return Interval(-128, 127)
        case Elem.I32:
            return INT32
        case Elem.U32:
            return Interval(0, 2**32 - 1)
        case Elem.I64:
            return Interval(-(2**63), 2**63 - 1)
        case Elem.F32 | Elem.REAL:
            return None
        case _:
            assert_never(found.elem)


def sums_range(x: Interval, weight: Array) -> Interval:
    """Return the interval of ``sum_k weight[o, k] * x[k]`` over all outputs, every ``x[k]`` in ``x``."""
    by_output = weight.reshape(len(weight), -1)
    positive = np.count_nonzero(by_output > 0, axis=1)
    negative = np.count_nonzero(by_output < 0, axis=1)
    low = positive * x.low - negative * x.high
    high = positive * x.high - negative * x.low
    return Interval(int(low.min()), int(high.max()))


def _node_range(  # noqa: PLR0911 -- one branch an operation
    node: bit.BitOp, graph: bit.BitGraph, found: Ranges
) -> Interval | None:
    """Return the interval of the result of ``node``; None where it is real or f32."""
    match node:
        case _ if node.result.type.elem in (Elem.REAL, Elem.F32):
            return None
        case bit.Conv2d(x=x, weight=weight, window=window, pad_value=pad_value):
            inside = found[x.name]
            seen = inside.union(Interval(pad_value, pad_value)) if window.is_padded else inside
            return sums_range(seen, graph.array(weight))
        case bit.Dense(x=x, weight=weight):
            return sums_range(found[x.name], graph.array(weight))
        case bit.BorderAffine(x=x, multiply=multiply, table=table):
            return _affine_range(found[x.name], multiply, table, graph)
        case bit.Add(x=x, y=y):
            return found[x.name].plus(found[y.name])
        case bit.MaxPool2d(x=x) | bit.Flatten(x=x) | bit.ChangeLayout(x=x) | bit.FlipSigns(x=x):
            return found[x.name]
        case bit.Concat(parts=parts):
            first, *others = (found[part.name] for part in parts)
            for other in others:
                first = first.union(other)
            return first
        case bit.Layer():
            return _fused_range(node, graph, found)
        case _:
            return element_range(node.result.type)


def _fused_range(node: bit.Layer, graph: bit.BitGraph, found: Ranges) -> Interval | None:
    match node.epilogue:
        case bit.ToSums(multiply=multiply, table=table):
            return _affine_range(acc_range(node, graph, found), multiply, table, graph)
        case bit.ToSigns() | bit.ToScores():
            return element_range(node.result.type)
        case _:
            assert_never(node.epilogue)


def acc_range(node: bit.Layer, graph: bit.BitGraph, found: Ranges) -> Interval:
    """Return the interval of the sums of a fused layer, before its epilogue."""
    inside = found[node.x.name]
    is_padded = node.window is not None and node.window.is_padded
    padding = -1 if node.x.type.elem is Elem.SIGN else 0
    seen = inside.union(Interval(padding, padding)) if is_padded else inside
    return sums_range(seen, graph.array(node.weight))


def _affine_range(x: Interval, multiply: int, table: ConstRef | None, graph: bit.BitGraph) -> Interval:
    product = x.scaled(multiply)
    if table is None:
        return product
    entries = graph.array(table)
    return product.plus(Interval(int(entries.min()), int(entries.max())))
