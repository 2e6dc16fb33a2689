"""What leaves the network as a real number becomes one multiplication and one addition in f32."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.exact import Norms, RoundedAffine, rounded_affine
from bnncc.ir.types import Elem, Value
from bnncc.passes.norms import normalized
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class LowerScores:
    """Replace every rounding by the f32 operations that define it.

    Before::  %n = bit.batch_norm(x=%d, gamma=@g, ...) : real[10]
              %f = bit.to_f32(x=%n) : f32[10]
    After::   %f = bit.affine(x=%d, scale=@f.scale, shift=@f.shift) : f32[10]

    ``unit * n`` has scale ``fl32(unit)`` and shift 0; a plain integer has scale 1.
    Needs roundings next to batch norms (``commute-sign``).
    """

    name: ClassVar[str] = "lower-scores"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph without `bit.ToF32`."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, bit.ToF32):
        return None
    if node.x.type.elem is Elem.SIGN:
        ones = Norms.identity(node.x.type.channels)
        return _affine(node, node.x, rounded_affine(ones, Fraction(1)), scope)
    found = normalized(node.x, scope)
    return None if found is None else _affine(node, found.n, rounded_affine(found.norms, found.unit), scope)


def _affine(node: bit.ToF32, x: Value, rounded: RoundedAffine, scope: Scope) -> tuple[bit.BitOp, ...]:
    name = node.result.name
    return (
        bit.Affine(
            result=node.result,
            span=node.span,
            x=x,
            scale=scope.names.constant(f"{name}.scale", Elem.F32, rounded.scale),
            shift=scope.names.constant(f"{name}.shift", Elem.F32, rounded.shift),
        ),
    )
