"""Sign and its pseudo-gradients, and AP2, as differentiable functions."""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from torch import Tensor

from bnncc.ir.nn import Estimator

_LARGE: Final = 2.0**100


def signs_of(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return ``+1 where x >= 0 else -1``, +1 also at -0.0; NaN stays NaN, so that it reaches the loss.

    Every float but 0 is at least 2^-149, so twice the factor 2^100 makes it larger than 2. It is arithmetic
    because torch's comparisons and ``where`` are five times slower on the CPU.
    """
    signs = x.mul(_LARGE).mul_(_LARGE).add_(1.0).clamp_(-1.0, 1.0)
    return signs if dtype is None else signs.to(dtype)


def hard_sigmoid(x: Tensor) -> Tensor:
    """Return ``min(max((x + 1) / 2, 0), 1)``. Source: Courbariaux, Hubara et al. 2016, eq. 3."""
    return ((x + 1) / 2).clamp(0, 1)


def _draw_signs(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return +1 with probability ``hard_sigmoid(x)``, else -1, from torch's global generator."""
    return signs_of(hard_sigmoid(x) - torch.rand_like(x, dtype=torch.float32), dtype)


class _ClippedSign(torch.autograd.Function):
    """Forward: sign, or a random sign. Backward: ``g * 1{|x| <= 1}``, the derivative of hard tanh."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_stochastic: bool, dtype: torch.dtype) -> Tensor:  # noqa: ANN401, FBT001 -- the signature torch asks for
        ctx.save_for_backward(x)
        return _draw_signs(x, dtype) if is_stochastic else signs_of(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 -- the signature torch asks for
        (x,) = ctx.saved_tensors
        # torch's mask is |x| < limit; the next float after 1 makes it |x| <= 1.
        limit = 1.0 + torch.finfo(x.dtype).eps
        grad = torch.ops.aten.hardtanh_backward(grads[0].to(x.dtype), x, -limit, limit)
        return grad, None, None


class _ApproxSign(torch.autograd.Function):
    """Forward: sign, or a random sign. Backward: ``g * max(0, 2 - 2 |x|)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_stochastic: bool, dtype: torch.dtype) -> Tensor:  # noqa: ANN401, FBT001 -- the signature torch asks for
        ctx.save_for_backward(x)
        return _draw_signs(x, dtype) if is_stochastic else signs_of(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 -- the signature torch asks for
        (x,) = ctx.saved_tensors
        return grads[0].to(x.dtype) * (2 - 2 * x.abs()).clamp(min=0), None, None


class _WeightSign(torch.autograd.Function):
    """Forward: sign. Backward: ``g``, unmasked: clipping keeps latent weights in [-1, 1]."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401 -- the signature torch asks for
        ctx.dtype = weight.dtype
        return signs_of(weight, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 -- the signature torch asks for
        return grads[0].to(ctx.dtype), None


class _PowerOfTwo(torch.autograd.Function):
    """Forward: AP2. Backward: ``g``."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401 -- the signature torch asks for
        return power_of_two(x)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401 -- the signature torch asks for
        return grads[0]


def binarize(
    x: Tensor, estimator: Estimator, *, is_stochastic: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the signs of activations, with the pseudo-gradient of ``estimator``.

    Forward: ``+1 if x >= 0 else -1``; where ``is_stochastic``, +1 with probability ``hard_sigmoid(x)``.
    Backward: ``g * 1{|x| <= 1}`` (clipped) or ``g * max(0, 2 - 2 |x|)`` (approx).

    Source: Courbariaux, Hubara et al. 2016, eq. 1, 2, 4; Liu et al. 2018 (Bi-Real Net), eq. 6.
    """
    function = _ClippedSign if estimator is Estimator.CLIPPED else _ApproxSign
    # torch leaves Function.apply without a type.
    return cast("Tensor", function.apply(x, is_stochastic, dtype or x.dtype))  # type: ignore[no-untyped-call]


def binarize_weight(weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return the signs of latent weights; the gradient with respect to the signs goes to them unchanged.

    Source: Courbariaux, Hubara et al. 2016, algorithm 1.
    """
    # torch leaves Function.apply without a type.
    return cast("Tensor", _WeightSign.apply(weight, dtype or weight.dtype))  # type: ignore[no-untyped-call]


_HALF_MANTISSA: Final = 0.707106769084930419921875
"""The largest float32 below ``sqrt(1/2)``."""


def power_of_two(x: Tensor) -> Tensor:
    """Return ``AP2(x) = sign(x) * 2^round(log2 |x|)``, 0 for 0, no gradient; exact below ``2^127.5``.

    Source: Courbariaux, Hubara et al. 2016, section 1.4; as `bnncc.ir.exact.ap2`.
    """
    mantissa, exponent = torch.frexp(x)
    exponent = exponent - (mantissa.abs() <= _HALF_MANTISSA).to(exponent.dtype)
    power = torch.ldexp(torch.ones_like(x), exponent)
    return torch.where(x == 0, x, torch.copysign(power, x))


def shift_of(x: Tensor) -> Tensor:
    """Return ``AP2(x)`` with the gradient of the identity."""
    # torch leaves Function.apply without a type.
    return cast("Tensor", _PowerOfTwo.apply(x))  # type: ignore[no-untyped-call]
