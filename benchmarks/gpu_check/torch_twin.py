"""A network as somebody would run it in PyTorch: floating-point weights of -1 and +1, one comparison a sign.

Padding is the convolution's own (zeros); batch normalisation and sign are one comparison with a known
number. Pooling is of signs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.gpu_check.driver import Array
from bnncc.diagnostics import InternalError
from bnncc.ir.bit import BitGraph, Layer, ToScores, ToSigns
from bnncc.ir.types import ConstRef, Elem
from bnncc.ir.window import Border, Window


class TwinLayer(nn.Module):
    """One layer.

    Args:
        layer: of the lowered network.
        graph: with the numbers.
        dtype: of weights and activations.
    """

    def __init__(self, layer: Layer, graph: BitGraph, dtype: torch.dtype) -> None:
        super().__init__()
        self.window, self.dtype = layer.window, dtype
        # Padding is zeros between -1 and +1, so bytes have to be there, too: 2 x - 255.
        epilogue = layer.epilogue
        is_border = isinstance(epilogue, ToSigns) and epilogue.border is not None
        self.is_centred = layer.x.type.elem is Elem.U8 and layer.window is not None and is_border
        weight = torch.from_numpy(np.array(graph.constants[layer.weight.digest])).to(dtype)
        if layer.window is not None:
            weight = weight.to(memory_format=torch.channels_last)
        self.register_buffer("weight", weight)
        shape = (1, -1, 1, 1) if len(layer.result.type.shape) > 1 else (1, -1)
        if isinstance(epilogue, ToSigns):
            if self.is_centred and epilogue.border is not None:
                bounds = _centred(
                    graph.constants[epilogue.bounds.digest], epilogue.border, layer, weight.float()
                )
            else:
                bounds = (
                    _inside(graph, epilogue.bounds, epilogue.border, layer) - 0.5
                )  # sums are whole: never equal
            self.register_buffer("bounds", torch.from_numpy(bounds).float().reshape(shape))
            self.flips = _multiplier(self, "flips", graph, epilogue.flips, (shape, dtype))
            self.after = _multiplier(self, "after", graph, epilogue.flips_after_pool, (shape, dtype))
            self.pool: Window | None = epilogue.pool
        elif isinstance(epilogue, ToScores):
            self.pool = None
            table = (
                np.zeros(layer.result.type.shape[0])
                if epilogue.table is None
                else graph.constants[epilogue.table.digest][0]
            )
            self.register_buffer("table", torch.from_numpy(np.array(table)).float().reshape(shape))
            self.register_buffer("scale", _floats(graph, epilogue.scale, shape))
            self.register_buffer("shift", _floats(graph, epilogue.shift, shape))
            self.multiply = epilogue.multiply
        else:
            raise InternalError(f"no twin of {type(epilogue).__name__}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return signs as -1 and +1, or scores."""
        weight: Any = self.weight
        if self.is_centred:
            x = 2 * x - 255
        if self.window is None:
            sums = functional.linear(x.flatten(1), weight)
        else:
            sums = functional.conv2d(x, weight, stride=self.window.stride, padding=self.window.padding[:2])
        if hasattr(self, "scale"):
            scale: Any = self.scale
            return (self.multiply * sums.float() + self.table) * scale + self.shift
        one = torch.ones((), dtype=self.dtype, device=x.device)
        signs = torch.where(sums > self.bounds, one, -one)
        if self.flips:
            signs = signs * self.flips_signs
        if self.pool is not None:
            signs = functional.max_pool2d(signs, self.pool.kernel, self.pool.stride, self.pool.padding[:2])
        return signs * self.after_signs if self.after else signs


class Twin(nn.Module):
    """A network of layers in a row, on images of bytes.

    Args:
        graph: as `bnncc.passes.pipeline.lower_network` makes it.
        dtype: of weights and activations.
    """

    def __init__(self, graph: BitGraph, dtype: torch.dtype) -> None:
        super().__init__()
        if not all(isinstance(node, Layer) for node in graph.nodes):
            raise InternalError("the twin has layers only")
        self.layers = nn.Sequential(
            *(TwinLayer(node, graph, dtype) for node in graph.nodes if isinstance(node, Layer))
        )
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores, f32."""
        x = images.to(self.dtype)
        scores: torch.Tensor = self.layers(
            x.contiguous(memory_format=torch.channels_last) if x.dim() > 2 else x
        )
        return scores


def _inside(graph: BitGraph, bounds: ConstRef, border: Border | None, layer: Layer) -> Array:
    """Return the bounds of pixels whose whole window is inside, where padding changes nothing."""
    table = graph.constants[bounds.digest]
    if border is None or layer.window is None:
        return np.array(table[0])
    height, width = layer.window.output_size(*layer.x.type.spatial)
    return np.array(table[border.index(height // 2, width // 2)])


def _centred(table: Array, border: Border, layer: Layer, weight: torch.Tensor) -> Array:
    """Return what sums of ``2 x - 255`` are compared with, the same for every pixel of a channel."""
    assert layer.window is not None, "dense layers have no border"
    ones = torch.ones((1, *layer.x.type.shape))
    inside = functional.conv2d(ones, weight, stride=layer.window.stride, padding=layer.window.padding[:2])[0]
    _, height, width = inside.shape
    pixels = np.array([[border.index(y, x) for x in range(width)] for y in range(height)])
    # x >= bound: 2 x - 255 * (sum of the weights inside) is at least this, and above the number two below.
    least = 2 * np.moveaxis(table[pixels], -1, 0) - 255 * inside.numpy()
    return np.array((least.min((1, 2)) + least.max((1, 2)) - 2) / 2)


def _multiplier(
    module: nn.Module,
    name: str,
    graph: BitGraph,
    flips: ConstRef | None,
    form: tuple[tuple[int, ...], torch.dtype],
) -> bool:
    """Keep -1 for flipped channels as a buffer; return whether there are any."""
    if flips is None:
        return False
    shape, dtype = form
    signs = np.where(graph.constants[flips.digest], -1.0, 1.0)
    module.register_buffer(f"{name}_signs", torch.from_numpy(signs).to(dtype).reshape(shape))
    return True


def _floats(graph: BitGraph, numbers: ConstRef, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(np.array(graph.constants[numbers.digest])).float().reshape(shape)
