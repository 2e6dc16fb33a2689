"""The few C statements in the middle of each element-wise kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from bnncc.diagnostics import InternalError
from bnncc.ir import bit
from bnncc.ir.kernel import KernelOp, KernelProgram
from bnncc.ir.types import ConstRef, Elem, Value
from bnncc.ir.window import Border, Window
from bnncc.targets.cuda.plan import Parameter, constant, packed_form

_LOWEST = {
    Elem.U8: "0",
    Elem.I8: "-128",
    Elem.SIGN: "-1",
    Elem.I32: "(-2147483647 - 1)",
    Elem.F32: "__int_as_float(0xff800000)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Statements, and the expression that is the result.

    Args:
        operands: the values read, each under the name of its parameter.
        constants: parameters from the blob.
        lines: statements before the result is known.
        result: a C expression; a truth value for signs.
        border: the classes of pixels, where ``lines`` use them.
    """

    operands: tuple[tuple[str, Value], ...]
    constants: tuple[Parameter, ...] = ()
    lines: tuple[str, ...] = ()
    result: str = "word"
    border: Border | None = None


def word_body(program: KernelProgram, node: bit.FlipSigns | bit.MaxPool2d | bit.ChangeLayout) -> Body:
    """Return the statements that make ``word`` from the words of ``x_image``."""
    step = packed_form(node.x.type).word_step
    same = f"x_image[vector * {step} + i % 4]"
    operands = (("x", node.x),)
    match node:
        case bit.ChangeLayout():
            return Body(operands=operands, lines=(f"const unsigned word = {same};",))
        case bit.FlipSigns(flips=flips):
            return Body(
                operands=operands,
                constants=(constant("flips", "unsigned char", program, flips),),
                lines=_flipped_word(node, same),
            )
        case bit.MaxPool2d(window=window):
            return Body(operands=operands, lines=_pooled_word(node, window, step))
        case _:
            assert_never(node)


def sign_body(  # noqa: PLR0911 -- one branch an operation
    program: KernelProgram, node: KernelOp, tables: str
) -> Body:
    """Return the truth value of one sign, at ``channel`` and ``pixel`` of ``image``."""
    match node:
        case bit.Sign(x=x, shift=shift):
            if shift is None:
                return Body(operands=(("x", x),), result=f"{_read(x, 'x')} >= 0")
            shifts = (constant("shift", "float", program, shift),)
            return Body(operands=(("x", x),), constants=shifts, result=f"{_read(x, 'x')} >= shift[channel]")
        case bit.Threshold(x=x, bounds=bounds, flips=flips, border=border):
            constants = [constant("bounds", "int", program, bounds)]
            result = f"{_read(x, 'x')} >= bounds[{_table_row(border, x, tables)}channel]"
            if flips is not None:
                constants.append(constant("flips", "unsigned char", program, flips))
                result = f"({result}) != (flips[channel] != 0)"
            return Body(operands=(("x", x),), constants=tuple(constants), result=result, border=_used(border))
        case bit.FlipSigns(x=x, flips=flips):
            constants = [constant("flips", "unsigned char", program, flips)]
            result = f"{_read(x, 'x')} != (flips[channel] != 0)"
            return Body(operands=(("x", x),), constants=tuple(constants), result=result)
        case bit.ChangeLayout(x=x):
            return Body(operands=(("x", x),), result=_read(x, "x"))
        case bit.Flatten(x=x):
            return _flatten(x)
        case bit.Concat(parts=parts):
            return _concat(parts, "bool", "false")
        case bit.MaxPool2d(x=x, window=window):
            return _max_pool(node, x, window)
        case _:
            raise InternalError(f"the CUDA target has no signs from '{type(node).__name__}' at {node.span}")


def number_body(  # noqa: PLR0911 -- one branch an operation
    program: KernelProgram, node: KernelOp, tables: str
) -> Body:
    """Return the value of one number, at ``channel`` and ``pixel`` of ``image``."""
    match node:
        case bit.BorderAffine(x=x, multiply=multiply, border=border):
            result = f"{multiply} * {_number(x, 'x')} + table[{_table_row(border, x, tables)}channel]"
            table = (constant("table", "int", program, node.table),)
            return Body(operands=(("x", x),), constants=table, result=result, border=_used(border))
        case bit.Affine(x=x, scale=scale, shift=shift):
            number = _number(x, "x") if x.type.elem is Elem.F32 else f"__int2float_rn({_number(x, 'x')})"
            return Body(
                operands=(("x", x),),
                constants=_scales(program, scale, shift),
                result=f"bnncc_affine({number}, scale[channel], shift[channel])",
            )
        case bit.Relu(x=x):
            return Body(operands=(("x", x),), result=f"fmaxf({_number(x, 'x')}, 0.0f)")
        case bit.HardTanh(x=x):
            return Body(operands=(("x", x),), result=f"fminf(fmaxf({_number(x, 'x')}, -1.0f), 1.0f)")
        case bit.Prelu():
            return _prelu(program, node)
        case bit.Add(x=x, y=y):
            left, right = _number(x, "x"), _number(y, "x2")
            is_float = x.type.elem is Elem.F32
            result = f"__fadd_rn({left}, {right})" if is_float else f"{left} + {right}"
            return Body(operands=(("x", x), ("x2", y)), result=result)
        case bit.MaxPool2d(x=x, window=window):
            return _max_pool(node, x, window)
        case bit.Flatten(x=x):
            return _flatten(x)
        case bit.Concat(parts=parts):
            return _concat(parts, "float" if parts[0].type.elem is Elem.F32 else "int", "0")
        case _:
            raise InternalError(f"the CUDA target has no numbers from '{type(node).__name__}' at {node.span}")


def _prelu(program: KernelProgram, node: bit.Prelu) -> Body:
    number = _number(node.x, "x")
    if node.before is not None:
        number = f"__fsub_rn({number}, before[channel])"
    bent = "t >= 0.0f ? t : __fmul_rn(slope[channel], t)"
    vectors = {"before": node.before, "slope": node.slope, "after": node.after}
    return Body(
        operands=(("x", node.x),),
        constants=tuple(
            constant(name, "float", program, ref) for name, ref in vectors.items() if ref is not None
        ),
        lines=(f"const float t = {number};",),
        result=bent if node.after is None else f"__fadd_rn({bent}, after[channel])",
    )


def _number(value: Value, name: str, channel: str = "channel", pixel: str = "pixel") -> str:
    """Return one element of a value as a number; signs are -1 and 1."""
    if value.type.layout.is_packed:
        return f"({_read(value, name, channel, pixel)} ? 1 : -1)"
    return _element(value, name, channel, pixel)


def _element(value: Value, name: str, channel: str, pixel: str) -> str:
    pixels = value.type.spatial[0] * value.type.spatial[1]
    return f"{name}[((size_t)image * {value.type.channels} + {channel}) * {pixels} + {pixel}]"


def _read(value: Value, name: str, channel: str = "channel", pixel: str = "pixel") -> str:
    """Return one element of a value: a number, or a truth value for signs."""
    tensor = value.type
    pixels = tensor.spatial[0] * tensor.spatial[1]
    if tensor.layout.is_packed:
        form = packed_form(tensor)
        start = f"{name} + {form.function}(image, {form.vectors}) * 4"
        vector = f"({channel} / 128 * {pixels} + {pixel}) * {form.word_step}"
        return f"bnncc_bit({start} + {vector}, {channel})"
    element = _element(value, name, channel, pixel)
    return f"({element} > 0)" if tensor.elem is Elem.SIGN else element


def _table_row(border: Border | None, x: Value, tables: str) -> str:
    """Return the start of the pixel's row in a border table, as a summand."""
    if _used(border) is None:
        return ""
    width = x.type.spatial[1]
    return f"({tables}_row[pixel / {width}] + {tables}_column[pixel % {width}]) * {x.type.channels} + "


def _used(border: Border | None) -> Border | None:
    """Return ``border`` if it tells pixels apart."""
    return border if border is not None and border.classes > 1 else None


def _scales(program: KernelProgram, scale: ConstRef, shift: ConstRef) -> tuple[Parameter, ...]:
    return (constant("scale", "float", program, scale), constant("shift", "float", program, shift))


def _flatten(x: Value) -> Body:
    """Return element ``channel`` of a flat vector: ``channel = (c * H + y) * W + x``."""
    pixels = x.type.spatial[0] * x.type.spatial[1]
    lines = (f"const int from = channel / {pixels}, at = channel % {pixels};",)
    return Body(operands=(("x", x),), lines=lines, result=_read(x, "x", "from", "at"))


def _concat(parts: tuple[Value, ...], c_type: str, zero: str) -> Body:
    names = tuple(f"x{index}" for index in range(len(parts)))
    lines = [f"{c_type} part = {zero};"]
    start = 0
    for name, value in zip(names, parts, strict=True):
        end = start + value.type.channels
        channel = f"channel - {start}" if start else "channel"
        lines.append(f"if (channel >= {start} && channel < {end})")
        lines.append(f"    part = {_read(value, name, f'({channel})')};")
        start = end
    return Body(operands=tuple(zip(names, parts, strict=True)), lines=tuple(lines), result="part")


def _pool_loop(window: Window, x: Value, y: Value, pixel: str, inside: str) -> tuple[str, ...]:
    """Return loops over the pixels of a pooling window that lie inside the image."""
    height, width = x.type.spatial
    columns = y.type.spatial[1]
    return (
        f"for (int pool_y = 0; pool_y < {window.kernel[0]}; ++pool_y)",
        f"    for (int pool_x = 0; pool_x < {window.kernel[1]}; ++pool_x) {{",
        f"        const int in_y = {_slide(f'{pixel} / {columns}', 'pool_y', window, 0)};",
        f"        const int in_x = {_slide(f'{pixel} % {columns}', 'pool_x', window, 1)};",
        f"        if ((unsigned)in_y < {height} && (unsigned)in_x < {width})",
        f"            {inside}",
        "    }",
    )


def _slide(place: str, tap: str, window: Window, axis: int) -> str:
    """Return the row (axis 0) or column (1) of the input under a tap of the window."""
    return f"{place} * {window.stride[axis]} - {window.padding[axis]} + {tap} * {window.dilation[axis]}"


def _max_pool(node: bit.MaxPool2d, x: Value, window: Window) -> Body:
    """Return the maximum of a window of numbers, or OR of signs."""
    element = _read(x, "x", "channel", f"in_y * {x.type.spatial[1]} + in_x")
    if x.type.elem is Elem.SIGN:
        first, inside = "bool best = false;", f"best = best || {element};"
    elif x.type.elem is Elem.F32:
        first, inside = f"float best = {_LOWEST[Elem.F32]};", f"best = fmaxf(best, {element});"
    else:
        first, inside = f"int best = {_LOWEST[x.type.elem]};", f"best = max(best, (int){element});"
    lines = (first, *_pool_loop(window, x, node.result, "pixel", inside))
    return Body(operands=(("x", x),), lines=lines, result="best")


def _pooled_word(node: bit.MaxPool2d, window: Window, step: int) -> tuple[str, ...]:
    height, width = node.x.type.spatial
    pixels = node.result.type.spatial[0] * node.result.type.spatial[1]
    inside = f"word |= x_image[((plane * {height} + in_y) * {width} + in_x) * {step} + i % 4];"
    return (
        f"const int plane = vector / {pixels}, pixel = vector % {pixels};",
        "unsigned word = 0;  // the maximum of signs is OR",
        *_pool_loop(window, node.x, node.result, "pixel", inside),
    )


def _flipped_word(node: bit.FlipSigns, word: str) -> tuple[str, ...]:
    channels = node.x.type.channels
    pixels = node.x.type.spatial[0] * node.x.type.spatial[1]
    return (
        f"const int first = vector / {pixels} * 128 + i % 4 * 32;  // channel of bit 0",
        f"unsigned word = {word};",
        f"for (int bit = 0; bit < 32 && first + bit < {channels}; ++bit)",
        "    word ^= (flips[first + bit] != 0 ? 1u : 0u) << bit;",
    )
