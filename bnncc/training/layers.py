"""Windows and products of the nn level on torch tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from bnncc.ir.window import Window


def conv2d(x: Tensor, weight: Tensor, window: Window, pad_value: float) -> Tensor:
    """Return the convolution; outside the image ``x`` is ``pad_value``. Channels lie last in memory.

    torch keeps the layout of its operands, but an image of one channel has none: without the last step, all
    that follows would run several times slower.
    """
    return _convolve(x, weight, window, pad_value).contiguous(memory_format=torch.channels_last)


def _convolve(x: Tensor, weight: Tensor, window: Window, pad_value: float) -> Tensor:
    top, left, bottom, right = window.padding
    if pad_value == 0 and (top, left) == (bottom, right):
        return F.conv2d(x, weight, None, window.stride, (top, left), window.dilation)
    padded = F.pad(x, (left, right, top, bottom), value=pad_value)
    return F.conv2d(padded, weight, None, window.stride, 0, window.dilation)


def per_channel(parameter: Tensor, like: Tensor) -> Tensor:
    """Return ``[C]`` shaped to broadcast against ``like``, ``[N, C, ...]``."""
    return parameter.view(1, -1, *(1,) * (like.dim() - 2))


def prelu(x: Tensor, slope: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
    """Return ``(t if t >= 0 else slope * t) + after``, ``t = x - before``, per channel, step by step.

    Source: He et al. 2015 (PReLU); Liu et al. 2020 (ReActNet), eq. 2, with shifts.
    """
    t = x if before is None else x - per_channel(before, x)
    y = torch.where(t >= 0, t, per_channel(slope, x) * t)
    return y if after is None else y + per_channel(after, x)


def max_pool2d(x: Tensor, window: Window) -> Tensor:
    """Return the maximum over each window; pixels outside the image never win."""
    top, left, bottom, right = window.padding
    if any(window.padding):
        x = F.pad(x, (left, right, top, bottom), value=-math.inf)
    return F.max_pool2d(x, window.kernel, window.stride, 0, window.dilation)
