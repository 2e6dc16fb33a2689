"""Shift-based batch normalization in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from bnncc.training.binarize import power_of_two
from bnncc.training.sync_norm import axes_of
from bnncc.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftNormState:
    """Parameters and running statistics. Shapes: all ``[C]`` f32; ``gamma`` None means 1.

    Args:
        team: the processes whose images count together; None: this one's only.
    """

    gamma: Tensor | None
    beta: Tensor
    mean: Tensor
    inv_std: Tensor
    team: Team | None = None


def shift_batch_norm(x: Tensor, state: ShiftNormState, *, eps: float, momentum: float) -> Tensor:
    """Return the shift-based normalization of a batch; the running statistics move by ``momentum``.

    Algorithm 2 of the paper. With ``<<>>`` a shift (a product with a power of two)::

        C   = x - mean(x)
        var = mean(C <<>> AP2(C))
        s   = AP2(1 / sqrt(var + eps))
        y   = AP2(gamma) <<>> (C <<>> s) + beta

    and backward, the derivative of batch norm with its products made shifts the same way::

        g_beta  = sum(g_y)
        g_gamma = sum(g_y <<>> AP2(C)) <<>> s
        g_x     = (g_y - mean(g_y) - mean(g_y <<>> AP2(C)) <<>> s <<>> s <<>> AP2(C)) <<>> s <<>> AP2(gamma)

    The only other arithmetic are sums, the division of a sum by how many there are, and one square root a
    channel. The running statistics are the averages of ``mean(x)`` and of ``1 / sqrt(var + eps)``, both
    before AP2; with a momentum of 2^-3 they move by shifts too.

    Shapes:
        x: ``[N, C]`` or ``[N, C, H, W]`` f32. result: as x.

    Source: Courbariaux, Hubara et al. 2016, algorithm 2; AP2(C) in the variance and backward, the plain C
    forward, as in the authors' Torch7 code.
    """
    # torch does not type Function.apply.
    result = _ShiftNorm.apply(x, state.gamma, state.beta, state, eps, momentum)  # type: ignore[no-untyped-call]  # torch: apply has no types
    return cast("Tensor", result)


class _ShiftNorm(torch.autograd.Function):
    """The two halves of `shift_batch_norm`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 -- torch leaves it without a type
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor,
        state: ShiftNormState,
        eps: float,
        momentum: float,
    ) -> Tensor:
        axes, shape = axes_of(x)
        mean_over = _alone if state.team is None else state.team.mean_over
        mean = mean_over(x.mean(axes))
        centred = x - mean.view(shape)
        inv_std = (mean_over((centred * power_of_two(centred)).mean(axes)) + eps).rsqrt()
        state.mean.lerp_(mean, momentum)
        state.inv_std.lerp_(inv_std, momentum)
        shift = power_of_two(inv_std).view(shape)
        slope = shift if gamma is None else power_of_two(gamma).view(shape) * shift
        ctx.save_for_backward(centred, shift, slope)
        ctx.has_gamma, ctx.mean_over = gamma is not None, mean_over
        return centred * slope + beta.view(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- torch leaves it without a type
        centred, shift, slope = ctx.saved_tensors
        grad = grads[0].to(centred.dtype)
        axes, shape = axes_of(grad)
        rough = power_of_two(centred)
        along = grad * rough
        to_beta = grad.sum(axes)
        to_gamma = along.sum(axes) * shift.flatten() if ctx.has_gamma else None
        pull = ctx.mean_over(along.mean(axes)).view(shape) * shift * shift
        to_x = (grad - ctx.mean_over(grad.mean(axes)).view(shape) - pull * rough) * slope
        return to_x, to_gamma, to_beta, None, None, None


def _alone(x: Tensor) -> Tensor:
    return x
