"""Batch norm whose statistics are of the images of all processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from bnncc.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncNormState:
    """Parameters and running statistics. Shapes: all ``[C]`` f32; ``gamma`` None means 1."""

    gamma: Tensor | None
    beta: Tensor
    mean: Tensor
    var: Tensor
    team: Team


def sync_batch_norm(x: Tensor, state: SyncNormState, *, eps: float, momentum: float) -> Tensor:
    """Return the batch norm of the images of all processes together; the running statistics move.

    Forward and backward equal `torch.nn.functional.batch_norm` of the whole batch within rounding. The mean
    and the variance of the images are averaged over the processes, one after the other; backward, the two
    means of the gradient. The gradients of gamma and beta are this process's own, as those of every
    parameter.

    Shapes:
        x: ``[N, C]`` or ``[N, C, H, W]``. result: as x, of its type.

    Source: Ioffe, Szegedy 2015, section 3.
    """
    # torch does not type Function.apply.
    result = _SyncNorm.apply(x, state.gamma, state.beta, state, eps, momentum)  # type: ignore[no-untyped-call]
    return cast("Tensor", result)


class _SyncNorm(torch.autograd.Function):
    """The two halves of `sync_batch_norm`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 -- torch leaves it without a type
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor,
        state: SyncNormState,
        eps: float,
        momentum: float,
    ) -> Tensor:
        axes, shape = axes_of(x)
        full = x.float()
        mean = state.team.mean_over(full.mean(axes))
        centred = full - mean.view(shape)
        var = state.team.mean_over(centred.square().mean(axes))
        count = full.numel() // full.shape[1] * state.team.size
        state.mean.lerp_(mean, momentum)
        state.var.lerp_(var * (count / max(count - 1, 1)), momentum)
        inv_std = (var + eps).rsqrt()
        normed = centred * inv_std.view(shape)
        slope = inv_std if gamma is None else inv_std * gamma
        ctx.save_for_backward(normed, slope)
        ctx.team, ctx.has_gamma, ctx.dtype = state.team, gamma is not None, x.dtype
        result = normed if gamma is None else normed * gamma.view(shape)
        return (result + beta.view(shape)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- torch leaves it without a type
        normed, slope = ctx.saved_tensors
        grad = grads[0].float()
        axes, shape = axes_of(grad)
        along = grad * normed
        to_gamma = along.sum(axes) if ctx.has_gamma else None
        level = ctx.team.mean_over(grad.mean(axes)).view(shape)
        pull = ctx.team.mean_over(along.mean(axes)).view(shape)
        to_x = (grad - level - normed * pull) * slope.view(shape)
        return to_x.to(ctx.dtype), to_gamma, grad.sum(axes), None, None, None


def axes_of(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes that a statistic goes over, and the shape that broadcasts it back."""
    return ((0,), (1, -1)) if x.dim() == 2 else ((0, 2, 3), (1, -1, 1, 1))
