"""What several passes ask about batch norms and scaled integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from bnncc.ir import bit
from bnncc.ir.exact import Norms
from bnncc.ir.norms import norms_of
from bnncc.ir.types import Elem, Value
from bnncc.passes.rewrite import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalized:
    """The exact real numbers ``norms(unit * n)``, per channel."""

    n: Value
    unit: Fraction
    norms: Norms


def normalized(x: Value, scope: Scope) -> Normalized | None:
    """Return ``x`` as a function of integers; None where it is rounded, or moved after it was normalized."""
    norms: Norms | None = None
    made = scope.producer(x)
    if isinstance(made, (bit.BatchNorm, bit.ShiftBatchNorm)):
        norms, x = norms_of(made, scope.array), made.x
        made = scope.producer(x)
    scale = None
    if isinstance(made, bit.Scale):
        scale, x = scope.array(made.scale), made.x
    n, unit = unscaled(x, scope)
    if n is None:
        return None
    found = norms or Norms.identity(n.type.channels)
    return Normalized(n=n, unit=unit, norms=replace(found, scale=scale))


def unscaled(x: Value, scope: Scope) -> tuple[Value | None, Fraction]:
    """Return the integers and the unit that ``x`` is the product of; None where it is no such product."""
    if x.type.elem in (Elem.I32, Elem.U8, Elem.I8):
        return x, Fraction(1)
    made = scope.producer(x)
    return (made.x, made.unit) if isinstance(made, bit.Rescale) else (None, Fraction(1))
