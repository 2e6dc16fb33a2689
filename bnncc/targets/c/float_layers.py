"""Arguments of ``float_layer.c.j2``: layers over real numbers, summed in the order of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bnncc.codegen.ctext import c_float
from bnncc.codegen.render import render
from bnncc.ir import kernel
from bnncc.ir.window import Window
from bnncc.targets.c.geometry import align
from bnncc.targets.c.text import Emission, Function, origin, parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatLayerArgs:
    """One layer over real numbers; ``is_dense`` where the input of an image is its only window, in order."""

    template: ClassVar[str] = "c/float_layer.c.j2"
    name: str
    origin: str
    parameters: tuple[str, ...]
    is_dense: bool
    channels: int
    height: int
    width: int
    window: Window
    columns: int
    pixels: int
    fill: str
    terms: int
    outputs: int
    image_count: int
    result_count: int
    call: str
    weights: str
    unit: str


def emit_float_layer(node: kernel.FloatLayer, emission: Emission) -> Function:
    """Return the C function of a layer over real numbers."""
    x = node.x.type
    rows, columns = node.window.output_size(*x.spatial)
    terms = x.channels * node.window.taps
    is_dense = x.spatial == (1, 1) and node.window == Window(kernel=(1, 1))
    scratch_bytes = 0 if is_dense else align(4 * 4 * terms)
    args = FloatLayerArgs(
        name=emission.symbol(node),
        origin=origin(
            node, f"{x} * {node.outputs} x [{x.channels}, {', '.join(map(str, node.window.kernel))}]"
        ),
        parameters=parameters((("x", node.x),), node.result, has_blob=True, has_scratch=not is_dense),
        is_dense=is_dense,
        channels=x.channels,
        height=x.spatial[0],
        width=x.spatial[1],
        window=node.window,
        columns=columns,
        pixels=rows * columns,
        fill=c_float(np.float32(node.pad_value)),
        terms=terms,
        outputs=node.outputs,
        image_count=x.count,
        result_count=node.result.type.count,
        call="bnncc_float_layer_binary" if node.is_binary else "bnncc_float_layer_real",
        weights=emission.bytes_pointer(node.weight),
        unit="images" if is_dense else "pixels",
    )
    return Function(
        text=render(args),
        symbol=args.name,
        operands=(node.x,),
        scratch_bytes=scratch_bytes,
        has_blob=True,
        headers=("float.h",),
    )
