"""Shift-based batch normalization in training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnncc.training.binarize import shift_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftNormState:
    """Parameters and running statistics. Shapes: all ``[C]`` f32; ``gamma`` None means 1."""

    gamma: Tensor | None
    beta: Tensor
    mean: Tensor
    inv_std: Tensor


def shift_batch_norm(x: Tensor, state: ShiftNormState, *, eps: float, momentum: float) -> Tensor:
    """Return the shift-based normalization of a batch; the running statistics move by ``momentum``.

    With ``<<>>`` a shift (a product with a power of two)::

        C   = x - mean(x)
        var = mean(C <<>> AP2(C))
        y   = AP2(gamma) <<>> (C <<>> AP2(1 / sqrt(var + eps))) + beta

    The running statistics are the averages of ``mean(x)`` and of ``1 / sqrt(var + eps)``, both before AP2.
    AP2 has the gradient of the identity.

    Shapes:
        x: ``[N, C]`` or ``[N, C, H, W]`` f32. result: as x.

    Source: Courbariaux, Hubara et al. 2016, algorithm 2.
    """
    axes = (0,) if x.dim() == 2 else (0, 2, 3)
    shape = (1, -1) if x.dim() == 2 else (1, -1, 1, 1)
    mean = x.mean(axes)
    centred = x - mean.view(shape)
    variance = (centred * shift_of(centred)).mean(axes)
    inv_std = (variance + eps).rsqrt()
    with torch.no_grad():
        state.mean.lerp_(mean, momentum)
        state.inv_std.lerp_(inv_std, momentum)
    normalized = centred * shift_of(inv_std).view(shape)
    if state.gamma is not None:
        normalized = normalized * shift_of(state.gamma).view(shape)
    return normalized + state.beta.view(shape)
