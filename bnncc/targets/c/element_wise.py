"""Arguments of the templates of element-wise operations over numbers, and of packing them into signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.codegen.render import render
from bnncc.ir import bit
from bnncc.ir.types import Elem, Value
from bnncc.ir.window import Border, Window
from bnncc.targets.c.geometry import pixel_bytes
from bnncc.targets.c.text import Emission, Function, class_tables, element_type, origin, parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class MapArgs:
    """``y[i] = expression`` for every element ``i`` of channel ``o``; ``border_class`` if there is one.

    ``line``, where there is one, stands before it.
    """

    template: ClassVar[str] = "c/map.c.j2"
    name: str
    origin: str
    parameters: tuple[str, ...]
    constants: tuple[str, ...]
    line: str
    expression: str
    channels: int
    height: int
    width: int
    pixels: int
    has_border: bool
    row_class: tuple[str, ...]
    column_class: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackArgs:
    """Bit ``o`` of each pixel is ``expression``, which sees element ``i`` and channel ``o``."""

    template: ClassVar[str] = "c/pack.c.j2"
    name: str
    origin: str
    parameters: tuple[str, ...]
    constants: tuple[str, ...]
    expression: str
    channels: int
    width: int
    pixels: int
    image_count: int
    result_bytes: int
    pixel_bytes: int
    has_border: bool
    row_class: tuple[str, ...]
    column_class: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPoolArgs:
    """Max pooling of numbers, plane by plane."""

    template: ClassVar[str] = "c/max_pool.c.j2"
    name: str
    origin: str
    parameters: tuple[str, ...]
    channels: int
    height: int
    width: int
    pixels: int
    rows: int
    columns: int
    window: Window
    c_type: str
    lowest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Formula:
    """An expression over element ``i`` and channel ``o``, what it needs, and a line before it."""

    expression: str
    operands: tuple[tuple[str, Value], ...]
    constants: tuple[str, ...] = ()
    border: Border | None = None
    line: str = ""


Mapped = bit.Affine | bit.Relu | bit.HardTanh | bit.Prelu | bit.Add | bit.BorderAffine


def emit_map(node: Mapped, emission: Emission) -> Function:
    """Return the C function of an operation that computes each number from numbers at the same place."""
    formula = _map_formula(node, emission)
    rows, columns = class_tables(formula.border)
    args = MapArgs(
        name=emission.symbol(node),
        origin=origin(node, _inputs_text(formula)),
        parameters=parameters(
            formula.operands, node.result, has_blob=bool(formula.constants), has_scratch=False
        ),
        constants=formula.constants,
        line=formula.line,
        expression=formula.expression,
        channels=node.result.type.channels,
        height=node.result.type.spatial[0],
        width=node.result.type.spatial[1],
        pixels=node.result.type.count // node.result.type.channels,
        has_border=formula.border is not None,
        row_class=rows,
        column_class=columns,
    )
    return _function(render(args), args.name, formula)


def _map_formula(node: Mapped, emission: Emission) -> _Formula:
    match node:
        case bit.Affine(x=x, scale=scale, shift=shift):
            constants = (
                f"const float *const scale = {emission.pointer(scale, 'float')};",
                f"const float *const shift = {emission.pointer(shift, 'float')};",
            )
            return _Formula(
                expression="scale[o] * (float)x[i] + shift[o]", operands=(("x", x),), constants=constants
            )
        case bit.Relu(x=x):
            return _Formula(expression="x[i] > 0.0f ? x[i] : 0.0f", operands=(("x", x),))
        case bit.HardTanh(x=x):
            expression = "x[i] > 1.0f ? 1.0f : x[i] < -1.0f ? -1.0f : x[i]"
            return _Formula(expression=expression, operands=(("x", x),))
        case bit.Prelu():
            return _prelu(node, emission)
        case bit.Add(x=x, y=other):
            return _Formula(expression="x[i] + other[i]", operands=(("x", x), ("other", other)))
        case bit.BorderAffine(x=x, multiply=multiply, table=table, border=border):
            place = "o" if border is None else f"border_class * {table.type.shape[-1]} + o"
            return _Formula(
                expression=f"{multiply} * x[i] + table[{place}]",
                operands=(("x", x),),
                constants=(f"const int32_t *const table = {emission.pointer(table, 'int32_t')};",),
                border=border,
            )


def _prelu(node: bit.Prelu, emission: Emission) -> _Formula:
    number = "x[i]" if node.before is None else "x[i] - before[o]"
    bent = "(t >= 0.0f ? t : slope[o] * t)"
    vectors = {"before": node.before, "slope": node.slope, "after": node.after}
    return _Formula(
        line=f"const float t = {number};",
        expression=bent if node.after is None else f"{bent} + after[o]",
        operands=(("x", node.x),),
        constants=tuple(
            f"const float *const {name} = {emission.pointer(ref, 'float')};"
            for name, ref in vectors.items()
            if ref is not None
        ),
    )


def emit_pack(node: bit.Threshold | bit.Sign | bit.ChangeLayout, emission: Emission) -> Function:
    """Return the C function of an operation that makes packed signs from numbers, or from int8 signs."""
    formula = _pack_formula(node, emission)
    rows, columns = class_tables(formula.border)
    result = node.result.type
    args = PackArgs(
        name=emission.symbol(node),
        origin=origin(node, _inputs_text(formula)),
        parameters=parameters(
            formula.operands, node.result, has_blob=bool(formula.constants), has_scratch=False
        ),
        constants=formula.constants,
        expression=formula.expression,
        channels=result.channels,
        width=result.spatial[1],
        pixels=result.count // result.channels,
        image_count=result.count,
        result_bytes=emission.program.buffer(node.result).bytes_per_image,
        pixel_bytes=pixel_bytes(result.channels),
        has_border=formula.border is not None,
        row_class=rows,
        column_class=columns,
    )
    return _function(render(args), args.name, formula)


def _pack_formula(node: bit.Threshold | bit.Sign | bit.ChangeLayout, emission: Emission) -> _Formula:
    operand = (("x", node.x),)
    if isinstance(node, bit.Sign) and node.shift is not None:
        shift = f"const float *const shift = {emission.pointer(node.shift, 'float')};"
        return _Formula(expression="x[i] >= shift[o]", operands=operand, constants=(shift,))
    if not isinstance(node, bit.Threshold):
        return _Formula(expression="x[i] >= 0", operands=operand)
    place = "o" if node.border is None else f"border_class * {node.bounds.type.shape[-1]} + o"
    bounds = f"const int32_t *const bounds = {emission.pointer(node.bounds, 'int32_t')};"
    if node.flips is None:
        return _Formula(
            expression=f"x[i] >= bounds[{place}]", operands=operand, constants=(bounds,), border=node.border
        )
    return _Formula(
        expression=f"(x[i] >= bounds[{place}]) != flips[o]",
        operands=operand,
        constants=(bounds, f"const unsigned char *const flips = {emission.bytes_pointer(node.flips)};"),
        border=node.border,
    )


_LOWEST = {Elem.U8: "0", Elem.I8: "INT8_MIN", Elem.SIGN: "INT8_MIN", Elem.I32: "INT32_MIN"}


def emit_max_pool(node: bit.MaxPool2d, emission: Emission) -> Function:
    """Return the C function of max pooling over numbers."""
    x, result = node.x.type, node.result.type
    args = MaxPoolArgs(
        name=emission.symbol(node),
        origin=origin(node, str(x)),
        parameters=parameters((("x", node.x),), node.result, has_blob=False, has_scratch=False),
        channels=x.channels,
        height=x.spatial[0],
        width=x.spatial[1],
        pixels=x.spatial[0] * x.spatial[1],
        rows=result.spatial[0],
        columns=result.spatial[1],
        window=node.window,
        c_type=element_type(x),
        lowest=_LOWEST.get(x.elem, "-__builtin_inff()"),
    )
    return Function(text=render(args), symbol=args.name, operands=(node.x,))


def _inputs_text(formula: _Formula) -> str:
    return ", ".join(str(value.type) for _, value in formula.operands)


def _function(text: str, symbol: str, formula: _Formula) -> Function:
    return Function(
        text=text,
        symbol=symbol,
        operands=tuple(value for _, value in formula.operands),
        has_blob=bool(formula.constants),
    )
