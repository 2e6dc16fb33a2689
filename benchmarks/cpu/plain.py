"""The cases as other engines know them: layers of plain arithmetic, with weights of -1 and +1."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.cpu.ours import INPUT_SEED, Case, NetworkCase, weights_of


@dataclass(frozen=True, kw_only=True)
class PlainLayer:
    """A convolution 3x3 with a border of zeros (``size`` set), or a dense layer (``size`` None).

    Args:
        size: rows (and columns) of its input.
        has_pool: the largest of 2x2 follows.
        is_last: no ReLU follows.
    """

    inputs: int
    outputs: int
    size: int | None = None
    has_pool: bool = False
    is_last: bool = False

    @property
    def fan_in(self) -> int:
        return self.inputs * (1 if self.size is None else 9)


def layers_of(case: Case | NetworkCase) -> tuple[PlainLayer, ...]:
    """Return the layers of a case; a layer alone is the last one, so its sums come out as they are."""
    if isinstance(case, Case):
        if case.window is None:
            return (PlainLayer(inputs=int(np.prod(case.shape)), outputs=case.outputs, is_last=True),)
        return (PlainLayer(inputs=case.shape[0], outputs=case.outputs, size=case.shape[1], is_last=True),)
    if "mlp" in case.file:
        widths = (784, 4096, 4096, 4096)
        hidden = [PlainLayer(inputs=a, outputs=b) for a, b in pairwise(widths)]
        return (*hidden, PlainLayer(inputs=4096, outputs=10, is_last=True))
    convolutions: list[PlainLayer] = []
    channels = 3
    for size, outputs in ((32, 128), (16, 256), (8, 512)):
        convolutions.append(PlainLayer(inputs=channels, outputs=outputs, size=size))
        convolutions.append(PlainLayer(inputs=outputs, outputs=outputs, size=size, has_pool=True))
        channels = outputs
    dense = (PlainLayer(inputs=8192, outputs=1024), PlainLayer(inputs=1024, outputs=1024))
    return (*convolutions, *dense, PlainLayer(inputs=1024, outputs=10, is_last=True))


def plain_weights(case: Case | NetworkCase) -> list[Any]:
    """Return signs for each layer, int8 ``[outputs, inputs(, 3, 3)]``; of a layer alone those of ours."""
    if isinstance(case, Case):
        return [weights_of(case)]
    rng = np.random.default_rng(0)
    shapes = [(*(layer.outputs, layer.inputs), *((3, 3) if layer.size else ())) for layer in layers_of(case)]
    return [rng.choice(np.array([-1, 1], np.int8), shape) for shape in shapes]


def macs_of(case: Case | NetworkCase) -> int:
    """Return the multiply-adds of a call."""
    positions = ((layer.size or 1) ** 2 for layer in layers_of(case))
    return case.images * sum(
        layer.fan_in * layer.outputs * count for layer, count in zip(layers_of(case), positions, strict=True)
    )


def input_shape(case: Case | NetworkCase) -> tuple[int, ...]:
    """Return ``[images, channels, rows, columns]`` or ``[images, inputs]``."""
    first = layers_of(case)[0]
    return (case.images, first.inputs, *(() if first.size is None else (first.size, first.size)))


def input_words(case: Case) -> Any:
    """Return the packed signs that ours reads: bytes ``[images, channels / 8]``, pixels among the images."""
    count = case.images * int(np.prod(case.shape))
    raw = np.random.default_rng(INPUT_SEED).integers(0, 256, 4 * count, dtype=np.uint8)
    return raw[: count // 8].reshape(-1, case.shape[0] // 8)


def input_signs(case: Case) -> Any:
    """Return the signs that ours reads, int8, in the shape of ``input_shape``."""
    signs = 2 * np.unpackbits(input_words(case), axis=1, bitorder="little").astype(np.int8) - 1
    if case.window is None:
        return signs
    rows, columns = case.shape[1:]
    return np.ascontiguousarray(signs.reshape(case.images, rows, columns, -1).transpose(0, 3, 1, 2))


def input_bytes(case: Case | NetworkCase) -> Any:
    """Return what the engines with bytes read, uint8: signs as 0 and 2 (zero point 1), or an image."""
    if isinstance(case, Case):
        return (input_signs(case) + 1).astype(np.uint8)
    return np.random.default_rng(INPUT_SEED).integers(0, 256, input_shape(case), dtype=np.uint8)


def input_floats(case: Case | NetworkCase) -> Any:
    """Return what the engines with real numbers read, float32."""
    if isinstance(case, Case):
        return input_signs(case).astype(np.float32)
    return (input_bytes(case).astype(np.float32) - 127) / 127.5
