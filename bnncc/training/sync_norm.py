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

    Forward and backward equal `torch.nn.functional.batch_norm` of the whole batch within rounding. The first
    two moments of the images are averaged over the processes; backward, the two means of the gradient. The
    gradients of gamma and beta are this process's own, as those of every parameter.

    Shapes:
        x: ``[N, C]`` or ``[N, C, H, W]``. result: as x, of its type.

    Source: Ioffe, Szegedy 2015, section 3.
    """
    # torch does not type Function.apply.
    result = _SyncNorm.apply(x, state.gamma, state.beta, state, eps, momentum)  # type: ignore[no-untyped-call]  # torch: apply has no types
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
        mean, var = _moments(full, axes, state.team)
        count = full.numel() // full.shape[1] * state.team.size
        state.mean.lerp_(mean, momentum)
        state.var.lerp_(var * (count / max(count - 1, 1)), momentum)
        inv_std = (var + eps).rsqrt()
        normed = (full - mean.view(shape)) * inv_std.view(shape)
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
        level, pull = ctx.team.mean_over(torch.stack([grad.mean(axes), along.mean(axes)]))
        to_x = (grad - level.view(shape) - normed * pull.view(shape)) * slope.view(shape)
        return to_x.to(ctx.dtype), to_gamma, grad.sum(axes), None, None, None


def _moments(x: Tensor, axes: tuple[int, ...], team: Team) -> tuple[Tensor, Tensor]:
    """Return mean and variance over all processes in one message; float64 bears the difference of squares."""
    var, mean = torch.var_mean(x, axes, correction=0)
    mean, var = mean.double(), var.double()
    mean, square = team.mean_over(torch.stack([mean, var + mean.square()]))
    return mean.float(), (square - mean.square()).float()


def axes_of(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes that a statistic goes over, and the shape that broadcasts it back."""
    return ((0,), (1, -1)) if x.dim() == 2 else ((0, 2, 3), (1, -1, 1, 1))
