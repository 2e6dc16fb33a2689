"""Kernels of the element-wise operations that no layer absorbed: a thread an element or a word."""

from __future__ import annotations

from typing import TypeAlias

from bnncc.ir import bit
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.types import Elem
from bnncc.targets.cuda import args, launch
from bnncc.targets.cuda.bodies import Body, number_body, sign_body, word_body
from bnncc.targets.cuda.describe import kernel_comment, traffic_of
from bnncc.targets.cuda.plan import (
    C_TYPES,
    PLANE_BITS,
    KernelPlan,
    LayerBody,
    PackedForm,
    Parameter,
    layer_name,
    packed_form,
    reads,
    table_name,
    tile_declarations,
    writes,
)
from bnncc.targets.cuda.store import border_columns, border_rows

ElementWise: TypeAlias = (
    bit.BorderAffine
    | bit.Threshold
    | bit.FlipSigns
    | bit.Sign
    | bit.MaxPool2d
    | bit.Flatten
    | bit.Affine
    | bit.Relu
    | bit.HardTanh
    | bit.Prelu
    | bit.Add
    | bit.Concat
    | bit.ChangeLayout
)


def element_plan(program: KernelProgram, node: ElementWise, name: str) -> KernelPlan:
    """Return the kernel of an element-wise operation."""
    result = node.result.type
    if isinstance(node, (bit.FlipSigns, bit.MaxPool2d, bit.ChangeLayout)) and (
        node.x.type.layout.is_packed and result.layout.is_packed
    ):
        return _word_map(program, node, name)
    if result.layout.is_packed:
        return _sign_map(program, node, name)
    return _value_map(program, node, name)


def _word_map(
    program: KernelProgram, node: bit.FlipSigns | bit.MaxPool2d | bit.ChangeLayout, name: str
) -> KernelPlan:
    x, y = packed_form(node.x.type), packed_form(node.result.type)
    body = word_body(program, node)
    parameters = (reads("x", "unsigned", node.x), *body.constants, writes("unsigned", node.result))
    geometry = launch.map_geometry(y.vectors * 4)
    template_args = args.WordMapArgs(
        comment=_comment(program, node, "a thread makes a word of 32 signs", geometry),
        layer=layer_name(program, name),
        parameters=tile_declarations(parameters),
        blocks=geometry.blocks_per_step,
        vectors=y.vectors,
        x_layout=x.function,
        x_vectors=x.vectors,
        lines=body.lines,
        y_layout=y.function,
        y_word_step=y.word_step,
    )
    return KernelPlan(template_args, parameters, geometry, _layer(program, name))


def _sign_map(program: KernelProgram, node: ElementWise, name: str) -> KernelPlan:
    result, tables = node.result.type, table_name(program, name)
    form: PackedForm = packed_form(result)
    pixels = result.spatial[0] * result.spatial[1]
    body = sign_body(program, node, tables)
    place = _used_places(body, {"pixel": f"vector % {pixels}"})
    parameters = (*_operands(body), *body.constants, writes("unsigned", node.result))
    geometry = launch.map_geometry(form.vectors * PLANE_BITS)
    template_args = args.SignMapArgs(
        comment=_comment(program, node, "a thread makes a sign, a warp's ballot a word", geometry),
        layer=layer_name(program, name),
        tables=tables,
        parameters=tile_declarations(parameters),
        blocks=geometry.blocks_per_step,
        vectors=form.vectors,
        pixels=pixels,
        channels=result.channels,
        lines=(*place, *body.lines, f"is_plus = {body.result};"),
        has_border=body.border is not None,
        border_rows=border_rows(body.border),
        border_columns=border_columns(body.border),
        height=result.spatial[0],
        width=result.spatial[1],
        y_layout=form.function,
        y_word_step=form.word_step,
    )
    return KernelPlan(template_args, parameters, geometry, _layer(program, name))


def _value_map(program: KernelProgram, node: ElementWise, name: str) -> KernelPlan:
    result, tables = node.result.type, table_name(program, name)
    c_type = C_TYPES[result.elem]
    pixels = result.spatial[0] * result.spatial[1]
    if result.elem is Elem.SIGN:
        body = sign_body(program, node, tables)
        last = f"const {c_type} value = {body.result} ? 1 : -1;"
    else:
        body = number_body(program, node, tables)
        last = f"const {c_type} value = {body.result};"
    place = _used_places(body, {"channel": f"i / {pixels}", "pixel": f"i % {pixels}"})
    parameters = (*_operands(body), *body.constants, writes(c_type, node.result))
    geometry = launch.map_geometry(result.count)
    template_args = args.ValueMapArgs(
        comment=_comment(program, node, "a thread makes a value", geometry),
        layer=layer_name(program, name),
        tables=tables,
        parameters=tile_declarations(parameters),
        blocks=geometry.blocks_per_step,
        count=result.count,
        lines=(*place, *body.lines, last),
        has_border=body.border is not None,
        border_rows=border_rows(body.border),
        border_columns=border_columns(body.border),
        height=result.spatial[0],
        width=result.spatial[1],
    )
    return KernelPlan(template_args, parameters, geometry, _layer(program, name))


def _layer(program: KernelProgram, name: str) -> LayerBody:
    return LayerBody(name=layer_name(program, name), has_shared=False)


def _used_places(body: Body, places: dict[str, str]) -> tuple[str, ...]:
    """Return declarations of those of ``places`` that the statements use."""
    texts = (*body.lines, body.result)
    return tuple(
        f"const int {name} = {place};"
        for name, place in places.items()
        if any(name in text for text in texts)
    )


def _operands(body: Body) -> tuple[Parameter, ...]:
    return tuple(
        reads(name, "unsigned" if value.type.layout.is_packed else C_TYPES[value.type.elem], value)
        for name, value in body.operands
    )


def _comment(program: KernelProgram, node: ElementWise, how: str, geometry: launch.LaunchGeometry) -> str:
    return kernel_comment(node, (how,), geometry, traffic_of(program, node))
