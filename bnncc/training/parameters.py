"""The parameters of a network, under the names that its graph gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

import torch
from torch import Tensor, nn

from bnncc.ir.nn import BatchNorm, Conv2d, Dense, NnGraph, Prelu, Scaling, ShiftBatchNorm, Sign
from bnncc.ir.train_spec import RateScale, WeightInit
from bnncc.ir.types import ConstRef, Elem


class Role(Enum):
    """What a parameter is to the trainer."""

    LATENT = "latent"
    WEIGHT = "weight"
    GAMMA = "gamma"
    BETA = "beta"
    MEAN = "mean"
    SPREAD = "spread"
    MEAN_SIZE = "mean size of latent weights"
    SCALE = "scale"
    SHIFT = "shift"
    SLOPE = "slope"

    @property
    def is_trained(self) -> bool:
        """Return whether it follows a gradient; the others are of the network's last step in training."""
        return self not in (Role.MEAN, Role.SPREAD, Role.MEAN_SIZE)


def roles(graph: NnGraph) -> dict[ConstRef, Role]:
    """Return every parameter of ``graph`` with its role, in order of use."""
    found: dict[ConstRef, Role] = {}
    for node in graph.nodes:
        match node:
            case (
                BatchNorm(gamma=gamma, beta=beta, mean=mean, var=spread)
                | ShiftBatchNorm(gamma=gamma, beta=beta, mean=mean, inv_std=spread)
            ):
                if gamma is not None:
                    found[gamma] = Role.GAMMA
                found.update({beta: Role.BETA, mean: Role.MEAN, spread: Role.SPREAD})
            case Conv2d(scale=ConstRef() as scale) | Dense(scale=ConstRef() as scale):
                is_mean = node.scaling is Scaling.MEAN
                found[scale] = Role.MEAN_SIZE if is_mean else Role.SCALE
            case Sign(shift=ConstRef() as shift):
                found[shift] = Role.SHIFT
            case Prelu(slope=slope, before=before, after=after):
                found[slope] = Role.SLOPE
                found.update({ref: Role.SHIFT for ref in (before, after) if ref is not None})
            case _:
                pass
    for ref in graph.const_refs():
        found.setdefault(ref, Role.LATENT if ref.type.elem is Elem.SIGN else Role.WEIGHT)
    return {ref: found[ref] for ref in graph.const_refs()}


class _Scope(nn.Module):
    """A part of a dotted name."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one parameter lives in the tree of modules; it stays valid when torch moves the parameter."""

    scope: nn.Module
    leaf: str
    is_buffer: bool

    @property
    def tensor(self) -> Tensor:
        """Return the parameter or buffer."""
        table = self.scope._buffers if self.is_buffer else self.scope._parameters  # noqa: SLF001 -- see `place`
        found = table[self.leaf]
        assert found is not None
        return found


def place(root: nn.Module, name: str, tensor: Tensor, *, is_buffer: bool) -> Slot:
    """Put ``tensor`` under the dotted ``name`` below ``root``.

    The tables are filled directly: ``add_module`` refuses layers that are called like a method of a module
    (``half``, ``type``), and attribute access is not needed.
    """
    *path, leaf = name.split(".")
    scope = root
    for part in path:
        child = scope._modules.get(part)  # noqa: SLF001 -- see above
        if child is None:
            child = _Scope()
            scope._modules[part] = child  # noqa: SLF001 -- see above
        scope = child
    if is_buffer:
        scope._buffers[leaf] = tensor  # noqa: SLF001 -- see above
    else:
        scope._parameters[leaf] = nn.Parameter(tensor)  # noqa: SLF001 -- see above
    return Slot(scope, leaf, is_buffer)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the terms that enter one sum, and the sums one input enters, of a weight ``[O, K]`` or conv."""
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def glorot_range(shape: tuple[int, ...]) -> float:
    """Return the bound of Glorot's uniform distribution as the authors use it: ``sqrt(1.5 / (in + out))``."""
    return math.sqrt(1.5 / sum(fans(shape)))


def rate_scale(scale: RateScale, ref: ConstRef, role: Role) -> float:
    """Return the factor on the learning rate of a parameter.

    Source: ``W_LR_scale`` in the authors' Theano code; rounded to a power of two in their Torch7 code.
    """
    if role is not Role.LATENT:
        return 1.0
    factor = 1 / glorot_range(ref.type.shape)
    match scale:
        case RateScale.NONE:
            return 1.0
        case RateScale.GLOROT:
            return factor
        case RateScale.GLOROT_AP2:
            return positive_ap2(factor)
        case _:
            assert_never(scale)


def positive_ap2(value: float) -> float:
    """Return ``AP2(value)`` of a positive number."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(1.0, exponent - (mantissa < math.sqrt(0.5)))


def initial(ref: ConstRef, role: Role, init: WeightInit, generator: torch.Generator | None) -> Tensor:
    """Return the first value of a parameter, f32."""
    shape = ref.type.shape
    match role:
        case Role.LATENT | Role.WEIGHT:
            bound = 1.0 if role is Role.LATENT and init is WeightInit.UNIFORM else glorot_range(shape) * 2
            return torch.empty(shape).uniform_(-min(bound, 1.0), min(bound, 1.0), generator=generator)
        case Role.SLOPE:
            return torch.full(shape, 0.25)
        case Role.GAMMA | Role.SPREAD | Role.SCALE | Role.MEAN_SIZE:
            return torch.ones(shape)
        case Role.BETA | Role.MEAN | Role.SHIFT:
            return torch.zeros(shape)
        case _:
            assert_never(role)


def fill_range(weights: Mapping[str, Tensor], roles: Mapping[ConstRef, Role]) -> dict[str, Tensor]:
    """Return ``weights`` with every latent one divided by its largest size, so that it fills [-1, 1].

    The signs are the same. Real weights of another network, which are small, begin as latent weights at the
    scale that rates and clipping are made for; latent weights that were clipped at 1 stay as they are.
    """
    latent = {ref.name for ref, role in roles.items() if role is Role.LATENT}
    return {
        name: x / x.abs().max().clamp(min=torch.finfo(x.dtype).tiny) if name in latent and x.numel() else x
        for name, x in weights.items()
    }
