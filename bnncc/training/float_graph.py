"""The nn graph as ordinary differentiable PyTorch: what runs in ``train()``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from bnncc.ir import nn
from bnncc.ir.types import ConstRef, Elem
from bnncc.training import layers
from bnncc.training.binarize import binarize, binarize_weight, mean_size
from bnncc.training.parameters import Slot
from bnncc.training.shift_batch_norm import ShiftNormState, shift_batch_norm
from bnncc.training.sync_norm import SyncNormState, sync_batch_norm
from bnncc.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatMode:
    """How the graph is computed.

    Args:
        dtype: of the operands of products. Signs are exact in bfloat16; sums above 256 are rounded there,
            which training does not notice. Parameters stay float32, and evaluation is exact.
        momentum: overrides that of every batch norm: ``1 / k`` for batch ``k`` makes plain averages.
        is_estimating: neither dropout nor random signs, as at inference; only statistics are collected.
        progress: fraction of the run that is over.
        watch: is told the operand of every sign, by the name of its result.
        team: the processes whose images batch norms look at together; None: this one's only.
    """

    dtype: torch.dtype = torch.float32
    momentum: float | None = None
    is_estimating: bool = False
    progress: float = 0.0
    watch: Callable[[str, Tensor], None] | None = None
    team: Team | None = None


Slots = Mapping[ConstRef, Slot]


def run_float(
    graph: nn.NnGraph, slots: Slots, inputs: tuple[Tensor, ...], mode: FloatMode
) -> tuple[Tensor, ...]:
    """Return the outputs of ``graph`` in float32, with gradients; running statistics move.

    Shapes:
        inputs: ``[N, *shape]``, one for each input of the graph.
    """
    values = {value.name: x for value, x in zip(graph.inputs, inputs, strict=True)}
    for node in graph.nodes:
        values[node.result.name] = _step(node, slots, values, mode)
    return tuple(values[output.value.name].float() for output in graph.outputs)


def _step(  # noqa: C901, PLR0911, PLR0912 -- one branch an operation
    node: nn.NnOp, slots: Slots, values: dict[str, Tensor], mode: FloatMode
) -> Tensor:
    match node:
        case nn.Normalize(x=x, scale=scale, shift=shift):
            return _channels_last((values[x.name].float() * float(scale)).add_(float(shift)))
        case nn.Conv2d(x=x, weight=weight, window=window, pad_value=pad_value):
            operand, factor = _factors(values[x.name], weight, slots, mode)
            return _scaled(node, layers.conv2d(operand, factor, window, pad_value), slots)
        case nn.Dense(x=x, weight=weight):
            return _scaled(node, F.linear(*_factors(values[x.name], weight, slots, mode)), slots)
        case nn.BatchNorm() | nn.ShiftBatchNorm():
            return _batch_norm(node, slots, values[node.x.name], mode)
        case nn.Sign(x=x):
            return _sign(node, slots, values[x.name], mode)
        case nn.MaxPool2d(x=x, window=window):
            return layers.max_pool2d(values[x.name], window)
        case nn.Flatten(x=x):
            return values[x.name].flatten(1)
        case nn.Relu(x=x):
            return F.relu(values[x.name])
        case nn.HardTanh(x=x):
            return F.hardtanh(values[x.name])
        case nn.Prelu(x=x, slope=slope, before=before, after=after):
            shifts = [None if ref is None else slots[ref].tensor for ref in (before, after)]
            return layers.prelu(values[x.name].float(), slots[slope].tensor, *shifts)
        case nn.Dropout(x=x, rate=rate):
            return F.dropout(values[x.name], float(rate), training=not mode.is_estimating)
        case nn.Add(x=x, y=y):
            return values[x.name] + values[y.name]
        case nn.Concat(parts=parts):
            return torch.cat([values[part.name] for part in parts], dim=1)
        case _:
            assert_never(node)


def _sign(node: nn.Sign, slots: Slots, x: Tensor, mode: FloatMode) -> Tensor:
    if node.shift is not None:
        x = x - layers.per_channel(slots[node.shift].tensor, x)
    if mode.watch is not None:
        mode.watch(node.result.name, x)
    is_random = node.stochastic and not mode.is_estimating
    return binarize(x, node.estimator, is_stochastic=is_random, dtype=mode.dtype, progress=mode.progress)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _factors(x: Tensor, ref: ConstRef, slots: Slots, mode: FloatMode) -> tuple[Tensor, Tensor]:
    """Return the operands of a product: in ``mode.dtype`` where the weights are signs, else in float32."""
    weight = slots[ref].tensor
    if ref.type.elem is not Elem.SIGN:
        return x.float(), weight
    return x.to(mode.dtype), binarize_weight(weight, mode.dtype)


def _scaled(node: nn.Conv2d | nn.Dense, sums: Tensor, slots: Slots) -> Tensor:
    """Return the sums times the scale of each channel; where that follows the weights, it moves to them."""
    if node.scale is None:
        return sums
    scale = slots[node.scale].tensor
    if node.scaling is nn.Scaling.MEAN:
        size = mean_size(slots[node.weight].tensor)
        scale.copy_(size.detach())
        scale = size
    return sums * layers.per_channel(scale, sums)


def _batch_norm(node: nn.BatchNorm | nn.ShiftBatchNorm, slots: Slots, x: Tensor, mode: FloatMode) -> Tensor:
    gamma = None if node.gamma is None else slots[node.gamma].tensor
    beta, mean = slots[node.beta].tensor, slots[node.mean].tensor
    momentum = float(node.momentum) if mode.momentum is None else mode.momentum
    team = mode.team if mode.team is not None and mode.team.size > 1 else None
    match node:
        case nn.BatchNorm(var=spread, eps=eps):
            var = slots[spread].tensor
            if team is None:
                return F.batch_norm(
                    x, mean, var, gamma, beta, training=True, momentum=momentum, eps=float(eps)
                )
            norm = SyncNormState(gamma=gamma, beta=beta, mean=mean, var=var, team=team)
            return sync_batch_norm(x, norm, eps=float(eps), momentum=momentum)
        case nn.ShiftBatchNorm(inv_std=inv_std, eps=eps):
            shifts = ShiftNormState(
                gamma=gamma, beta=beta, mean=mean, inv_std=slots[inv_std].tensor, team=team
            )
            return shift_batch_norm(x.float(), shifts, eps=float(eps), momentum=momentum)
        case _:
            assert_never(node)
