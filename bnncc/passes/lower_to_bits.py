"""From the nn level to the bit level, one to one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import ClassVar, assert_never

import numpy as np

from bnncc.ir import bit, nn
from bnncc.ir.exact import RoundedAffine, rounded_affine
from bnncc.ir.graph import Output
from bnncc.ir.infer import normalize_unit
from bnncc.ir.norms import norms_of
from bnncc.ir.types import ConstRef, Elem, TensorType, Value
from bnncc.passes.rewrite import Names


@dataclass(frozen=True, slots=True)
class LowerToBits:
    """Write the network as integer arithmetic, before anything is folded.

    Before::  %n = nn.normalize(x=%image, scale=2/255, shift=-1) : real[3, 8, 8]
    After::   %n.steps = bit.border_affine(x=%image, multiply=2, table=@n.table, border=none) : i32[3, 8, 8]
              %n = bit.rescale(x=%n.steps, unit=1/255) : real[3, 8, 8]

    Dropout is gone. Where the contract rounds a real number, `bit.ToF32` stands: at outputs, before relu,
    hard tanh, sums and joins, before a layer whose operand is not a normalized input. A batch norm of a
    rounded value is a `bit.Affine`. Needs bound weights.
    """

    name: ClassVar[str] = "lower-to-bits"

    def run(self, graph: nn.NnGraph) -> bit.BitGraph:
        """Return the bit graph with the same meaning."""
        lowering = _Lowering(
            graph=graph,
            names=Names.of(graph),
            values={value.name: _Lowered(value) for value in graph.inputs},
        )
        for node in graph.nodes:
            lowering.values[node.result.name] = lowering.lower(node)
        outputs = tuple(Output(o.name, lowering.stored(o.value)) for o in graph.outputs)
        return bit.BitGraph(
            name=graph.name,
            inputs=graph.inputs,
            nodes=tuple(lowering.nodes),
            outputs=outputs,
            constants=lowering.names.constants,
        )


class _Real(Enum):
    """What kind of real number a value is; the kinds of `bnncc.ir.reference.values`."""

    NOT = "not real, or rounded"
    PIXELS = "a rising function of input pixels"
    FALLING_PIXELS = "a falling function of input pixels"
    RATIONAL = "another exact rational"
    SCALED = "a scaled sum"
    NORMED = "a batch norm"
    FLAT_NORMED = "a flattened batch norm"


@dataclass(frozen=True, slots=True)
class _Lowered:
    value: Value
    real: _Real = _Real.NOT


@dataclass(slots=True, kw_only=True)
class _Lowering:
    """The graph being lowered, and what has been made so far."""

    graph: nn.NnGraph
    names: Names
    values: dict[str, _Lowered]
    nodes: list[bit.BitOp] = field(default_factory=list)
    rounded: dict[str, Value] = field(default_factory=dict)

    def lower(self, node: nn.NnOp) -> _Lowered:  # noqa: C901, PLR0911, PLR0912 -- one branch an operation
        """Return the value that ``node`` has become, after appending the operations for it."""
        span, result = node.span, node.result
        match node:
            case nn.Normalize():
                return self._normalize(node)
            case nn.Conv2d() | nn.Dense():
                return self._layer(node)
            case nn.BatchNorm() | nn.ShiftBatchNorm():
                return self._batch_norm(node)
            case nn.Sign(x=x, shift=shift):
                is_rounded = shift is not None and self.values[x.name].real is _Real.FLAT_NORMED
                compared = self.to_f32(x) if is_rounded else self.values[x.name].value
                return self._emit(bit.Sign(result=result, span=span, x=compared, shift=shift))
            case nn.MaxPool2d(x=x, window=window):
                operand = self.values[x.name]
                pooled = self._like(result, operand.value)
                made = bit.MaxPool2d(result=pooled, span=span, x=operand.value, window=window)
                is_falling = operand.real is _Real.FALLING_PIXELS
                return self._emit(made, _Real.RATIONAL if is_falling else operand.real)
            case nn.Flatten(x=x):
                operand = self.values[x.name]
                flat = self._like(result, operand.value)
                real = _Real.FLAT_NORMED if operand.real is _Real.NORMED else operand.real
                return self._emit(bit.Flatten(result=flat, span=span, x=operand.value), real)
            case nn.Relu(x=x):
                return self._emit(bit.Relu(result=self._f32(result), span=span, x=self.to_f32(x)))
            case nn.HardTanh(x=x):
                return self._emit(bit.HardTanh(result=self._f32(result), span=span, x=self.to_f32(x)))
            case nn.Prelu(x=x, slope=slope, before=before, after=after):
                return self._emit(
                    bit.Prelu(
                        result=self._f32(result),
                        span=span,
                        x=self.to_f32(x),
                        slope=slope,
                        before=before,
                        after=after,
                    )
                )
            case nn.Dropout(x=x):
                return self.values[x.name]
            case nn.Add(x=x, y=y) if result.type.elem is Elem.I32:
                left, right = self.values[x.name].value, self.values[y.name].value
                return self._emit(bit.Add(result=result, span=span, x=left, y=right))
            case nn.Add(x=x, y=y):
                left, right = self.to_f32(x), self.to_f32(y)
                return self._emit(bit.Add(result=self._f32(result), span=span, x=left, y=right))
            case nn.Concat(parts=parts):
                stored = tuple(self.stored(part) for part in parts)
                joined = self._like(result, stored[0])
                return self._emit(bit.Concat(result=joined, span=span, parts=stored))
            case _:
                assert_never(node)

    def stored(self, x: Value) -> Value:
        """Return the nn value ``x`` as memory can hold it: real numbers rounded to f32."""
        is_real = self.values[x.name].value.type.elem is Elem.REAL
        return self.to_f32(x) if is_real else self.values[x.name].value

    def to_f32(self, x: Value) -> Value:
        """Return the nn value ``x`` rounded to f32."""
        value = self.values[x.name].value
        if value.type.elem is Elem.F32:
            return value
        if value.name not in self.rounded:
            result = self._f32(Value(self.names.fresh(f"{value.name}.f32"), value.type))
            producer = self.graph.producer(x)
            span = {} if producer is None else {"span": producer.span}
            self.nodes.append(bit.ToF32(result=result, x=value, **span))
            self.rounded[value.name] = result
        return self.rounded[value.name]

    def _emit(self, node: bit.BitOp, real: _Real = _Real.NOT) -> _Lowered:
        self.nodes.append(node)
        return _Lowered(node.result, real)

    def _f32(self, result: Value) -> Value:
        return Value(result.name, TensorType(Elem.F32, result.type.shape))

    def _like(self, result: Value, operand: Value) -> Value:
        return Value(result.name, TensorType(operand.type.elem, result.type.shape))

    def _normalize(self, node: nn.Normalize) -> _Lowered:
        unit = normalize_unit(node.scale, node.shift)
        shape = node.result.type.shape
        table = np.full((1, node.result.type.channels), int(node.shift / unit), np.int64)
        steps = Value(self.names.fresh(f"{node.result.name}.steps"), TensorType(Elem.I32, shape))
        self.nodes.append(
            bit.BorderAffine(
                result=steps,
                span=node.span,
                x=self.values[node.x.name].value,
                multiply=int(node.scale / unit),
                table=self.names.constant(f"{node.result.name}.table", Elem.I64, table),
                border=None,
            )
        )
        made = bit.Rescale(result=node.result, span=node.span, x=steps, unit=unit)
        return self._emit(made, _Real.PIXELS if node.scale > 0 else _Real.FALLING_PIXELS)

    def _layer(self, node: nn.Conv2d | nn.Dense) -> _Lowered:
        operand = self.values[node.x.name]
        is_exact = operand.real in (_Real.PIXELS, _Real.FALLING_PIXELS)
        is_integer = operand.real is _Real.NOT and operand.value.type.elem is not Elem.F32
        is_rounded = node.weight.type.elem is Elem.F32 or not (is_exact or is_integer)
        x = self.to_f32(node.x) if is_rounded else operand.value
        elem = Elem.F32 if is_rounded else Elem.REAL if is_exact else Elem.I32
        name = node.result.name
        sums = Value(
            name if node.scale is None else self.names.fresh(f"{name}.unscaled"),
            TensorType(elem, node.result.type.shape),
        )
        weight, factor = node.weight, node.scale
        if factor is not None and not is_rounded:
            weight, factor = self._with_positive_scale(weight, factor)
        made: bit.BitOp
        match node:
            case nn.Conv2d(window=window, pad_value=pad_value):
                made = bit.Conv2d(
                    result=sums, span=node.span, x=x, weight=weight, window=window, pad_value=pad_value
                )
            case nn.Dense():
                made = bit.Dense(result=sums, span=node.span, x=x, weight=weight)
            case _:
                assert_never(node)
        real = _Real.RATIONAL if is_exact and not is_rounded else _Real.NOT
        unscaled = self._emit(made, real)
        return unscaled if factor is None else self._scaled(node, unscaled.value, factor)

    def _with_positive_scale(self, weight: ConstRef, factor: ConstRef) -> tuple[ConstRef, ConstRef]:
        """Return weights and scales with the same products; the signs of the scales are in the weights."""
        array, scale = self.graph.array(weight), self.graph.array(factor)
        falls = scale < 0
        if not falls.any():
            return weight, factor
        signs = np.where(falls, -1, 1).astype(np.int8).reshape(-1, *(1,) * (array.ndim - 1))
        for ref in (weight, factor):
            del self.names.refs[ref.name]
        return (
            self.names.constant(weight.name, Elem.SIGN, array * signs),
            self.names.constant(factor.name, Elem.F32, np.abs(scale)),
        )

    def _scaled(self, node: nn.Conv2d | nn.Dense, sums: Value, scale: ConstRef) -> _Lowered:
        result, span = node.result, node.span
        if sums.type.elem is not Elem.F32:
            return self._emit(bit.Scale(result=result, span=span, x=sums, scale=scale), _Real.SCALED)
        shift = np.zeros(sums.type.channels, np.float32)
        return self._emit(
            bit.Affine(
                result=self._f32(result),
                span=span,
                x=sums,
                scale=scale,
                shift=self.names.constant(f"{result.name}.shift", Elem.F32, shift),
            )
        )

    def _batch_norm(self, node: nn.BatchNorm | nn.ShiftBatchNorm) -> _Lowered:
        operand = self.values[node.x.name]
        if operand.value.type.elem is Elem.F32 or operand.real in (_Real.NORMED, _Real.FLAT_NORMED):
            return self._affine(node, rounded_affine(norms_of(node, self.graph.array), Fraction(1)))
        made: bit.BitOp
        match node:
            case nn.BatchNorm():
                made = bit.BatchNorm(
                    result=node.result,
                    span=node.span,
                    x=operand.value,
                    gamma=node.gamma,
                    beta=node.beta,
                    mean=node.mean,
                    var=node.var,
                    eps=node.eps,
                )
            case nn.ShiftBatchNorm():
                made = bit.ShiftBatchNorm(
                    result=node.result,
                    span=node.span,
                    x=operand.value,
                    gamma=node.gamma,
                    beta=node.beta,
                    mean=node.mean,
                    inv_std=node.inv_std,
                )
            case _:
                assert_never(node)
        return self._emit(made, _Real.NORMED)

    def _affine(self, node: nn.BatchNorm | nn.ShiftBatchNorm, rounded: RoundedAffine) -> _Lowered:
        name = node.result.name
        return self._emit(
            bit.Affine(
                result=self._f32(node.result),
                span=node.span,
                x=self.to_f32(node.x),
                scale=self.names.constant(f"{name}.scale", Elem.F32, rounded.scale),
                shift=self.names.constant(f"{name}.shift", Elem.F32, rounded.shift),
            )
        )
