"""The stored parameters of a batch norm, of either level."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, assert_never

from bnncc.ir import bit, nn
from bnncc.ir.exact import F32, Norms
from bnncc.ir.types import ConstRef

AnyNorm: TypeAlias = nn.BatchNorm | nn.ShiftBatchNorm | bit.BatchNorm | bit.ShiftBatchNorm


def norms_of(node: AnyNorm, array: Callable[[ConstRef], F32]) -> Norms:
    """Return the normalization of ``node``; ``array`` gives the content of a parameter."""
    gamma = None if node.gamma is None else array(node.gamma)
    beta, mean = array(node.beta), array(node.mean)
    match node:
        case nn.BatchNorm(var=var, eps=eps) | bit.BatchNorm(var=var, eps=eps):
            return Norms.standard(gamma, beta, mean, array(var), eps)
        case nn.ShiftBatchNorm(inv_std=inv_std) | bit.ShiftBatchNorm(inv_std=inv_std):
            return Norms.shift(gamma, beta, mean, array(inv_std))
        case _:
            assert_never(node)
