"""Sign and its pseudo-gradients, and AP2, as differentiable functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, assert_never, cast

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
    def forward(ctx: Any, x: Tensor, is_stochastic: bool, dtype: torch.dtype, _power: float) -> Tensor:  # noqa: ANN401, FBT001 -- the signature torch asks for
        ctx.save_for_backward(x)
        return _draw_signs(x, dtype) if is_stochastic else signs_of(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401 -- the signature torch asks for
        (x,) = ctx.saved_tensors
        # torch's mask is |x| < limit; the next float after 1 makes it |x| <= 1.
        limit = 1.0 + torch.finfo(x.dtype).eps
        grad = torch.ops.aten.hardtanh_backward(grads[0].to(x.dtype), x, -limit, limit)
        return grad, None, None, None


class _ApproxSign(torch.autograd.Function):
    """Forward: sign, or a random sign. Backward: ``g * max(0, 2 - 2 |x|)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_stochastic: bool, dtype: torch.dtype, _power: float) -> Tensor:  # noqa: ANN401, FBT001 -- the signature torch asks for
        ctx.save_for_backward(x)
        return _draw_signs(x, dtype) if is_stochastic else signs_of(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401 -- the signature torch asks for
        (x,) = ctx.saved_tensors
        return grads[0].to(x.dtype) * (2 - 2 * x.abs()).clamp(min=0), None, None, None


_SWISH_BETA: Final = 5.0


class _SwishSign(torch.autograd.Function):
    """Forward: sign, or a random sign. Backward: ``g * b (2 - b x tanh(b x / 2)) / (1 + cosh(b x))``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_stochastic: bool, dtype: torch.dtype, _power: float) -> Tensor:  # noqa: ANN401, FBT001 -- the signature torch asks for
        ctx.save_for_backward(x)
        return _draw_signs(x, dtype) if is_stochastic else signs_of(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401 -- the signature torch asks for
        (x,) = ctx.saved_tensors
        return grads[0].to(x.dtype) * swish_slope(x), None, None, None


def swish_slope(x: Tensor) -> Tensor:
    """Return the derivative of SignSwish, ``b (2 - b x tanh(b x / 2)) / (1 + cosh(b x))`` with ``b = 5``.

    It is below 1e-20 beyond ``|b x| = 60``, where cosh still has room. Source: Darabi et al. 2018 (BNN+),
    eq. 4.
    """
    z = (_SWISH_BETA * x).clamp(-60, 60)
    return _SWISH_BETA * (2 - z * torch.tanh(z / 2)) / (1 + torch.cosh(z))


_RESTE_REACH: Final = 1.5
_RESTE_CHORD: Final = 0.1


class _ResteSign(torch.autograd.Function):
    """Forward: sign, or a random sign. Backward: ``g * reste_slope(x, o)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_stochastic: bool, dtype: torch.dtype, power: float) -> Tensor:  # noqa: ANN401, FBT001 -- the signature torch asks for
        ctx.save_for_backward(x)
        ctx.power = power
        return _draw_signs(x, dtype) if is_stochastic else signs_of(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401 -- the signature torch asks for
        (x,) = ctx.saved_tensors
        return grads[0].to(x.dtype) * reste_slope(x, ctx.power), None, None, None


def reste_slope(x: Tensor, power: float) -> Tensor:
    """Return the slope of ``sign(x) |x|^(1/o)``, cut off beyond 1.5, that of the chord below 0.1.

    Source: Wu et al. 2023 (ReSTE), eq. 8, 9 and section 4.2 for 1.5 and 0.1.
    """
    size = x.abs()
    slope = size.clamp(min=_RESTE_CHORD).pow(1 / power - 1)
    slope = torch.where(size < _RESTE_CHORD, slope, slope / power)
    return torch.where(size <= _RESTE_REACH, slope, 0)


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
    x: Tensor,
    estimator: Estimator,
    *,
    is_stochastic: bool = False,
    dtype: torch.dtype | None = None,
    progress: float = 0.0,
) -> Tensor:
    """Return the signs of activations, with the pseudo-gradient of ``estimator``.

    Forward: ``+1 if x >= 0 else -1``; where ``is_stochastic``, +1 with probability ``hard_sigmoid(x)``.
    Backward: ``g * 1{|x| <= 1}`` (clipped), ``g * max(0, 2 - 2 |x|)`` (approx), `swish_slope`, `reste_slope`.
    ReSTE's power rises with ``progress``, the fraction of the run that is over, from 1 to 3.

    Source: Courbariaux, Hubara et al. 2016, eq. 1, 2, 4; Liu et al. 2018 (Bi-Real Net), eq. 6.
    """
    return _function(estimator)(x, is_stochastic, dtype or x.dtype, 1 + 2 * progress)


def _function(estimator: Estimator) -> Callable[..., Tensor]:
    match estimator:
        case Estimator.CLIPPED:
            return _ClippedSign.apply
        case Estimator.APPROX:
            return _ApproxSign.apply
        case Estimator.SWISH:
            return _SwishSign.apply
        case Estimator.RESTE:
            return _ResteSign.apply
        case _:
            assert_never(estimator)


def binarize_weight(weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return the signs of latent weights; the gradient with respect to the signs goes to them unchanged.

    Source: Courbariaux, Hubara et al. 2016, algorithm 1.
    """
    # torch leaves Function.apply without a type.
    # torch does not type Function.apply.
    return cast("Tensor", _WeightSign.apply(weight, dtype or weight.dtype))  # type: ignore[no-untyped-call]  # torch: apply has no types


def mean_size(weight: Tensor) -> Tensor:
    """Return the mean size of the latent weights of each output, with its gradient.

    The best scale of signs: it minimizes ``|w - scale * sign(w)|^2``. Shapes: ``[O, ...]`` to ``[O]``.

    Source: Rastegari et al. 2016 (XNOR-Net), eq. 5, 6.
    """
    return weight.abs().flatten(1).mean(1)


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
    # torch does not type Function.apply.
    return cast("Tensor", _PowerOfTwo.apply(x))  # type: ignore[no-untyped-call]  # torch: apply has no types
