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


def max_pool2d(x: Tensor, window: Window) -> Tensor:
    """Return the maximum over each window; pixels outside the image never win."""
    top, left, bottom, right = window.padding
    if any(window.padding):
        x = F.pad(x, (left, right, top, bottom), value=-math.inf)
    return F.max_pool2d(x, window.kernel, window.stride, 0, window.dilation)
