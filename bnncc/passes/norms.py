"""What several passes ask about batch norms and scaled integers."""

from __future__ import annotations

from fractions import Fraction
from typing import assert_never

from bnncc.ir import bit
from bnncc.ir.exact import Norms
from bnncc.ir.types import Elem, Value
from bnncc.passes.rewrite import Scope


def norms_in(node: bit.BatchNorm | bit.ShiftBatchNorm, scope: Scope) -> Norms:
    """Return the stored parameters of a batch norm."""
    gamma = None if node.gamma is None else scope.array(node.gamma)
    beta, mean = scope.array(node.beta), scope.array(node.mean)
    match node:
        case bit.BatchNorm(var=var, eps=eps):
            return Norms.standard(gamma, beta, mean, scope.array(var), eps)
        case bit.ShiftBatchNorm(inv_std=inv_std):
            return Norms.shift(gamma, beta, mean, scope.array(inv_std))
        case _:
            assert_never(node)


def unscaled(x: Value, scope: Scope) -> tuple[Value | None, Fraction]:
    """Return the integers and the unit that ``x`` is the product of; None where it is no such product."""
    if x.type.elem in (Elem.I32, Elem.U8, Elem.I8):
        return x, Fraction(1)
    made = scope.producer(x)
    return (made.x, made.unit) if isinstance(made, bit.Rescale) else (None, Fraction(1))
