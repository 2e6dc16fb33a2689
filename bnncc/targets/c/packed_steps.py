"""Arguments of ``steps.c.j2``: operations on packed signs, and copies of whole images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.codegen.render import render
from bnncc.ir import bit
from bnncc.ir.graph import Node, operands
from bnncc.targets.c.geometry import align
from bnncc.targets.c.text import ELEMENT_TYPES, Emission, Function, origin, parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsArgs:
    """C statements before the loop over images, and for each image ``n``."""

    template: ClassVar[str] = "c/steps.c.j2"
    name: str
    origin: str
    parameters: tuple[str, ...]
    before: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    steps: tuple[str, ...]
    before: tuple[str, ...] = ()
    has_blob: bool = False
    scratch_bytes: int = 0
    headers: tuple[str, ...] = ("signs.h",)


def _emit(node: Node, emission: Emission, body: _Steps) -> Function:
    values = operands(node)
    names = ("x",) if len(values) == 1 else tuple(f"x{index}" for index in range(len(values)))
    args = StepsArgs(
        name=emission.symbol(node),
        origin=origin(node, ", ".join(str(value.type) for value in values)),
        parameters=parameters(
            tuple(zip(names, values, strict=True)),
            node.result,
            has_blob=body.has_blob,
            has_scratch=body.scratch_bytes > 0,
        ),
        before=body.before,
        steps=body.steps,
    )
    return Function(
        text=render(args),
        symbol=args.name,
        operands=values,
        scratch_bytes=body.scratch_bytes,
        has_blob=body.has_blob,
        headers=body.headers,
    )


def _pixels(node: bit.FlipSigns | bit.Flatten | bit.ChangeLayout) -> int:
    return node.x.type.count // node.x.type.channels


def _words(channels: int) -> int:
    return -(-channels // 64)


def emit_flip(node: bit.FlipSigns, emission: Emission) -> Function:
    """Return the C function that flips the signs of some channels."""
    channels, pixels = node.x.type.channels, _pixels(node)
    flags = emission.bytes_pointer(node.flips)
    if not node.x.type.layout.is_packed:
        image = node.x.type.count
        step = (
            f"for (size_t i = 0; i < {image}; ++i)\n            y[n * {image} + i] = "
            f"(int8_t)(flips[i / {pixels}] != 0 ? -x[n * {image} + i] : x[n * {image} + i]);"
        )
        before = f"const unsigned char *const flips = {flags};"
        return _emit(node, emission, _Steps(steps=(step,), before=(before,), has_blob=True, headers=()))
    words = _words(channels)
    size = 8 * words * pixels
    step = f"bnncc_flip_pixels(y + n * {size}, x + n * {size}, scratch, {words}, {pixels});"
    body = _Steps(
        before=(f"bnncc_pack_flags(scratch, {flags}, {channels});",),
        steps=(step,),
        has_blob=True,
        scratch_bytes=align(8 * words),
    )
    return _emit(node, emission, body)


def emit_or_pool(node: bit.MaxPool2d, emission: Emission) -> Function:
    """Return the C function of max pooling over packed signs."""
    x, result, window = node.x.type, node.result.type, node.window
    pool = (
        "static const bnncc_pool pool = {\n"
        f"        .height = {x.spatial[0]}, .width = {x.spatial[1]}, .words = {_words(x.channels)},\n"
        f"        .tap_rows = {window.kernel[0]}, .tap_columns = {window.kernel[1]},\n"
        f"        .stride_rows = {window.stride[0]}, .stride_columns = {window.stride[1]},\n"
        f"        .dilation_rows = {window.dilation[0]}, .dilation_columns = {window.dilation[1]},\n"
        f"        .top = {window.padding[0]}, .left = {window.padding[1]}, .columns = {result.spatial[1]},\n"
        "    };"
    )
    to, start = (emission.program.buffer(value).bytes_per_image for value in (node.result, node.x))
    step = f"bnncc_or_pool(y + n * {to}, x + n * {start}, &pool, 0, 0, {result.spatial[0]}, NULL);"
    return _emit(node, emission, _Steps(before=(pool,), steps=(step,)))


def emit_copy(node: bit.Flatten | bit.ChangeLayout, emission: Emission) -> Function:
    """Return the C function of an operation that leaves the bytes of an image as they are."""
    size = emission.program.buffer(node.x).bytes_per_image
    elements = size // _element_bytes(node)
    step = f"memcpy(y + n * {elements}, x + n * {elements}, {size});"
    return _emit(node, emission, _Steps(steps=(step,), headers=()))


def _element_bytes(node: bit.Flatten | bit.ChangeLayout | bit.Concat) -> int:
    tensor = node.result.type
    return 4 if not tensor.layout.is_packed and ELEMENT_TYPES[tensor.elem] in ("int32_t", "float") else 1


def emit_flatten(node: bit.Flatten, emission: Emission) -> Function:
    """Return the C function that makes a vector of an image."""
    x = node.x.type
    if not x.layout.is_packed or _pixels(node) == 1:
        return emit_copy(node, emission)
    to, start = (emission.program.buffer(value).bytes_per_image for value in (node.result, node.x))
    step = f"bnncc_flatten_signs(y + n * {to}, x + n * {start}, {x.channels}, {_pixels(node)});"
    return _emit(node, emission, _Steps(steps=(step,)))


def emit_unpack(node: bit.ChangeLayout, emission: Emission) -> Function:
    """Return the C function that stores packed signs as one int8 each."""
    x = node.x.type
    start = emission.program.buffer(node.x).bytes_per_image
    step = f"bnncc_unpack_signs(y + n * {x.count}, x + n * {start}, {x.channels}, {_pixels(node)});"
    return _emit(node, emission, _Steps(steps=(step,)))


def emit_concat(node: bit.Concat, emission: Emission) -> Function:
    """Return the C function that puts values one after another along the channels."""
    names = ("x",) if len(node.parts) == 1 else tuple(f"x{index}" for index in range(len(node.parts)))
    parts = tuple(zip(names, node.parts, strict=True))
    result = node.result.type
    if not result.layout.is_packed:
        size = _element_bytes(node)
        steps, done = [], 0
        for name, part in parts:
            count = part.type.count
            steps.append(f"memcpy(y + n * {result.count} + {done}, {name} + n * {count}, {size * count});")
            done += count
        return _emit(node, emission, _Steps(steps=tuple(steps), headers=()))
    pixels = result.count // result.channels
    width = 8 * _words(result.channels)
    lines = [f"unsigned char *to = y + n * {pixels * width};", f"memset(to, 0, {pixels * width});"]
    lines += [f"for (size_t pixel = n * {pixels}; pixel < (n + 1) * {pixels}; ++pixel, to += {width}) {{"]
    start = 0
    for name, part in parts:
        channels = part.type.channels
        source = f"{name} + pixel * {8 * _words(channels)}"
        lines.append(f"    bnncc_append_bits(to, {start}, {source}, 0, {channels});")
        start += channels
    return _emit(node, emission, _Steps(steps=(*lines, "}")))
