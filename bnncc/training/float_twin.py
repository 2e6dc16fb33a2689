"""The float network a binary one is measured against: the same layers, deployed in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from bnncc.ir import nn
from bnncc.ir.types import ConstRef
from bnncc.training import layers

Array = npt.NDArray[Any]


def float_twin(graph: nn.NnGraph, threads: int) -> Callable[[Array], Array]:
    """Return a function that runs a float32 network with the layers of ``graph``, of random weights.

    Batch norms are taken as folded into the weights before them, and the non-linearity is ReLU where the
    binary network takes signs: what a float network of this shape costs when it is deployed with torch.

    Shapes:
        argument: ``[N, *shape of the input]`` u8. result: ``[N, *shape of the output]`` f32.
    """
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    weights = {ref: _weight(ref, generator) for ref in graph.const_refs() if len(ref.type.shape) > 1}

    @torch.inference_mode()
    def run(images: Array) -> Array:
        values = {graph.inputs[0].name: torch.from_numpy(np.ascontiguousarray(images)).float()}
        for node in graph.nodes:
            values[node.result.name] = _step(node, weights, values)
        return values[graph.outputs[0].value.name].numpy()

    return run


def _weight(ref: ConstRef, generator: torch.Generator) -> Tensor:
    weight: Tensor = (
        torch.randn(ref.type.shape, generator=generator) / (ref.type.count / ref.type.channels) ** 0.5
    )
    return layers_last(weight)


def layers_last(x: Tensor) -> Tensor:
    """Return ``x`` with channels last, torch's fastest order for images on a CPU."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _step(  # noqa: PLR0911 -- one branch an operation
    node: nn.NnOp, weights: dict[ConstRef, Tensor], values: dict[str, Tensor]
) -> Tensor:
    match node:
        case nn.Normalize(x=x, scale=scale, shift=shift):
            return layers_last(values[x.name] * float(scale) + float(shift))
        case nn.Conv2d(x=x, weight=weight, window=window):
            return layers.conv2d(values[x.name], weights[weight], window, 0)
        case nn.Dense(x=x, weight=weight):
            return F.linear(values[x.name], weights[weight])
        case nn.BatchNorm(x=x) | nn.ShiftBatchNorm(x=x) | nn.Dropout(x=x):
            return values[x.name]
        case nn.Sign(x=x) | nn.Relu(x=x) | nn.HardTanh(x=x) | nn.Prelu(x=x):
            return F.relu(values[x.name])
        case nn.MaxPool2d(x=x, window=window):
            return layers.max_pool2d(values[x.name], window)
        case nn.Flatten(x=x):
            return values[x.name].flatten(1)
        case nn.Add(x=x, y=y):
            return values[x.name] + values[y.name]
        case nn.Concat(parts=parts):
            return torch.cat([values[part.name] for part in parts], dim=1)
        case _:
            assert_never(node)
