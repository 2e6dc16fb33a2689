"""Optimizers with a learning rate per parameter, and the clipping of latent weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

import torch
from torch import Tensor

from bnncc.ir.train_spec import Adam, AdamW, Bop, Optimizer, RateScale, Sgd, ShiftAdaMax
from bnncc.training.binarize import power_of_two
from bnncc.training.module import BnnModule
from bnncc.training.parameters import Role, positive_ap2, rate_scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A parameter that the optimizer moves; ``scale`` multiplies its learning rate.

    ``is_weight`` is False for the parameters of batch norms.
    """

    name: str
    parameter: torch.nn.Parameter
    scale: float
    is_latent: bool
    is_weight: bool = True


def trained(module: BnnModule, scale: RateScale) -> tuple[Trained, ...]:
    """Return the parameters of ``module`` that follow a gradient."""
    found: list[Trained] = []
    for ref, role in module.roles.items():
        tensor = module.slots[ref].tensor
        if isinstance(tensor, torch.nn.Parameter):
            factor = rate_scale(scale, ref, role)
            found.append(
                Trained(
                    name=ref.name,
                    parameter=tensor,
                    scale=factor,
                    is_latent=role is Role.LATENT,
                    is_weight=role in (Role.LATENT, Role.WEIGHT),
                )
            )
    return tuple(found)


class ShiftAdaMaxOptimizer(torch.optim.Optimizer):
    """Shift-based AdaMax, algorithm 3 of the paper.

    With ``g`` the gradient, and ``<<>>`` a shift (a product with a power of two)::

        m     = b1 m + (1 - b1) g          computed as m + (1 - b1) <<>> (g - m)
        v     = max(b2 v, |g|)             b2 v computed as v - (1 - b2) <<>> v
        theta = theta - scale <<>> AP2(lr / (1 - b1^t)) <<>> m <<>> 1 / AP2(max(v, eps))

    Every product over a tensor is a shift where ``1 - b1`` and ``1 - b2`` are powers of two, as in the
    paper (2^-3, 2^-10; not the 0.9 and 0.999 of the authors' Torch7 code), and ``scale`` is (``rate_scale
    none`` or ``glorot_ap2``; that code rounds it for CIFAR-10 and SVHN, not for MNIST). ``v`` itself is
    kept un-rounded; where ``t7_quirk`` is set, the state keeps ``AP2(v)`` as the authors' Torch7 code does.
    Since ``b2 AP2(v)`` rounds back to ``AP2(v)``, ``v`` then never decays.

    Source: Courbariaux, Hubara et al. 2016, algorithm 3.
    """

    def __init__(self, groups: list[dict[str, Any]], spec: ShiftAdaMax) -> None:
        super().__init__(groups, {"lr": spec.lr, "scale": 1.0})
        self._spec = spec

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 -- torch's overloads
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, grad: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["m"] = torch.zeros_like(parameter)
            state["v"] = torch.zeros_like(parameter)
        spec, m, v = self._spec, state["m"], state["v"]
        state["step"] += 1
        m.add_(grad - m, alpha=1 - spec.beta1)
        torch.maximum(v - v * (1 - spec.beta2), grad.abs(), out=v)
        if spec.t7_quirk:
            v.copy_(power_of_two(v))
        if group["lr"] <= 0:
            return
        rate = group["lr"] / (1 - spec.beta1 ** int(state["step"].item()))
        step = positive_ap2(rate) * group["scale"]
        parameter.sub_(m / power_of_two(v.clamp(min=spec.eps)), alpha=step)


class BopOptimizer(torch.optim.Adam):
    """Bop for latent weights, Adam for all else.

    With ``g`` the gradient of the loss with respect to the signs, and ``gamma`` falling as the rate does::

        m = (1 - gamma) m + gamma g
        w = -w      where |m| > threshold and m has the sign of w

    The latent weight keeps its size for ever; only its sign is read.

    Source: Helwegen et al. 2019, algorithm 1.
    """

    def __init__(self, groups: list[dict[str, Any]], spec: Bop) -> None:
        super().__init__(groups, lr=spec.lr, fused=True)
        self._spec = spec

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 -- torch's overloads
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"] if group["is_latent"] else ():
                if parameter.grad is not None:
                    self._flip(parameter, parameter.grad, self._spec.gamma * group["lr"] / self._spec.lr)
                    # Adam, which is next, leaves out what has no gradient.
                    parameter.grad = None
        super().step()

    def _flip(self, parameter: Tensor, grad: Tensor, gamma: float) -> None:
        state = self.state[parameter]
        if not state:
            state["m"] = torch.zeros_like(parameter)
        m = state["m"].lerp_(grad, gamma)
        is_positive = parameter >= 0
        flips = (m.abs() > self._spec.threshold) & ((m > 0) == is_positive)
        # -0.0 would count as +1: a latent weight of 0 becomes the number below it.
        below = torch.full_like(parameter, -torch.finfo(parameter.dtype).tiny)
        parameter.copy_(torch.where(flips, torch.where(parameter == 0, below, -parameter), parameter))


def build_optimizer(spec: Optimizer, parameters: tuple[Trained, ...]) -> torch.optim.Optimizer:
    """Return the optimizer of ``spec``, one group for all parameters that it treats alike."""
    groups = _groups(parameters)
    match spec:
        case Adam(lr=lr, beta1=beta1, beta2=beta2, eps=eps):
            return torch.optim.Adam(groups, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)
        case AdamW(lr=lr, beta1=beta1, beta2=beta2, eps=eps):
            for group in groups:
                # torch decays by the group's rate, of which the scale of the layer is a part.
                group["weight_decay"] = spec.weight_decay / group["scale"] if group["is_weight"] else 0.0
            return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps, fused=True)
        case Bop():
            return BopOptimizer(groups, spec)
        case Sgd(lr=lr, momentum=momentum, nesterov=nesterov):
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)
        case ShiftAdaMax():
            return ShiftAdaMaxOptimizer(groups, spec)
        case _:
            assert_never(spec)


def _groups(parameters: tuple[Trained, ...]) -> list[dict[str, Any]]:
    found: dict[tuple[float, bool, bool], list[Tensor]] = {}
    for item in parameters:
        found.setdefault((item.scale, item.is_latent, item.is_weight), []).append(item.parameter)
    return [
        {"params": alike, "scale": scale, "is_latent": is_latent, "is_weight": is_weight}
        for (scale, is_latent, is_weight), alike in found.items()
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; each parameter's own factor multiplies it.

    Shift-based AdaMax rounds the rate to a power of two, so it gets them apart; Bop knows no factors.
    """
    is_apart = isinstance(optimizer, (ShiftAdaMaxOptimizer, BopOptimizer))
    for group in optimizer.param_groups:
        group["lr"] = rate if is_apart else rate * group["scale"]


@torch.no_grad()
def clip_latent(parameters: tuple[Trained, ...], bound: float) -> None:
    """Clip latent weights to ``[-bound, bound]``. Source: Courbariaux, Hubara et al. 2016, algorithm 1."""
    for item in parameters:
        if item.is_latent:
            item.parameter.clamp_(-bound, bound)


_STATE_KEYS: Final = ("step", "exp_avg", "exp_avg_sq", "m", "v", "momentum_buffer")


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: tuple[Trained, ...]) -> dict[str, Tensor]:
    """Return the state of the optimizer as named tensors on the CPU: ``conv1.weight/exp_avg`` and so on."""
    found: dict[str, Tensor] = {}
    for item in parameters:
        for key, value in optimizer.state.get(item.parameter, {}).items():
            assert key in _STATE_KEYS, key
            if value is not None:
                found[f"{item.name}/{key}"] = value.detach().to("cpu", copy=True).contiguous()
    return found


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: tuple[Trained, ...], tensors: Mapping[str, Tensor]
) -> None:
    """Put the tensors of `optimizer_tensors` back."""
    for item in parameters:
        for key in _STATE_KEYS:
            value = tensors.get(f"{item.name}/{key}")
            if value is not None:
                # Adam keeps the step counter where the fused kernel wants it: beside the parameter.
                optimizer.state[item.parameter][key] = value.clone().to(item.parameter.device)
