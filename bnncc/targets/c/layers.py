"""Arguments of ``layer.c.j2``: binary and integer layers, and how their sums are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, assert_never

from bnncc.codegen.render import render
from bnncc.ir import kernel
from bnncc.ir.types import Elem, Value
from bnncc.targets.c.geometry import PanelGroup, Taps, ceil_div, paired_groups, panel_groups, pixel_bytes
from bnncc.targets.c.sources import TABLE_IMAGES, Layer, PoolArgs, Source, source_of
from bnncc.targets.c.text import Emission, Function, class_tables, element_type, origin, parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class SignsArgs:
    """How packed signs are stored: C expressions for the tables of panel ``panel``, bytes of a pixel."""

    limits: str
    outputs_per_class: int
    flips: str
    flips_after: str
    pixel_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuesArgs:
    """How numbers are stored: C expressions for tables, and the distance of neighbouring results."""

    fan_in_bits: int
    multiply: int
    table: str
    scale: str
    shift: str
    outputs: int
    output_bytes: int
    pixel_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ZerosArgs:
    """Where in a pixel the panels without outputs lie, that share a word with the last ones."""

    at_bytes: int
    count_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerArgs:
    """One binary or integer layer; strings are C expressions.

    Args:
        windows: the first window of a band, or of the images of a dense layer.
        conv_first, conv_rows: rows of the convolution that a band needs.
        framed_rows: rows of the framed image that they need.
        window_count, window_columns: tiles of a band; pooled pixels where a tile is a pooling window.
        tiles_to: where the tiles store.
        steps: how many groups of panels there are.
        zeros: the panels without outputs, None where there are none.
        image_type, result_type: C types of the elements of ``x`` and ``y``.
    """

    template: ClassVar[str] = "c/layer.c.j2"
    name: str
    origin: str
    shape: str
    parameters: tuple[str, ...]
    call: str
    weights: str
    taps: Taps
    groups: tuple[PanelGroup, ...]
    steps: int
    source: Source
    table_images: int
    is_signed: int
    windows: str
    conv_first: str
    conv_rows: str
    framed_rows: str
    window_count: str
    window_columns: int
    tiles_to: str
    has_border: bool
    row_class: tuple[str, ...]
    column_class: tuple[str, ...]
    is_signs: bool
    zeros: ZerosArgs | None
    signs: SignsArgs | None
    values: ValuesArgs | None
    pool: PoolArgs | None
    pool_flips: str
    pooled_row_bytes: int
    image_type: str
    result_type: str
    image_step: int
    image_elements: int


def emit_layer(node: Layer, emission: Emission) -> Function:
    """Return the C function of a binary or integer layer."""
    source = source_of(node, emission)
    kind, store_name = _kind(node), _store_name(node, source)
    border = None if source.is_dense else node.store.border
    row_class, column_class = class_tables(border)
    conv_first, conv_rows = _conv_rows(source)
    after = node.store.flips_after_pool if isinstance(node.store, kernel.StoreSigns) else None
    panels = emission.cut.of(node.result.name).panels
    groups = paired_groups(node.outputs) if source.is_tabled else panel_groups(node.outputs, panels)
    args = LayerArgs(
        name=emission.symbol(node),
        origin=origin(node, f"{node.x.type} * {_weights_text(node)}"),
        shape=_shape_text(node, source, groups),
        parameters=parameters(
            (("x", node.x),),
            node.result,
            has_blob=True,
            is_shared=True,
            has_scratch=source.scratch_bytes > 0,
        ),
        call=f"bnncc_{kind}_{store_name}",
        weights=emission.bytes_pointer(node.weight),
        taps=source.taps,
        groups=groups,
        steps=groups[-1].end_step,
        source=source,
        table_images=TABLE_IMAGES,
        is_signed=int(node.x.type.elem is Elem.I8),
        windows=_first_window(source),
        conv_first=conv_first,
        conv_rows=conv_rows,
        framed_rows=f"(conv_rows - 1) * {source.stride_rows} + {source.reach_rows}",
        window_count=f"rows * {source.result_columns}"
        if source.is_tile_pooled
        else f"conv_rows * {source.columns}",
        window_columns=source.result_columns if source.is_tile_pooled else source.columns,
        tiles_to=_tiles_to(node, source),
        has_border=border is not None,
        row_class=row_class,
        column_class=column_class,
        is_signs=isinstance(node.store, kernel.StoreSigns),
        zeros=_zeros(node),
        signs=_signs(node, emission, source),
        values=_values(node, emission, source),
        pool=source.pool,
        pool_flips=emission.bytes_pointer(after),
        pooled_row_bytes=source.result_columns * source.result_pixel_bytes,
        image_type=element_type(node.x.type),
        result_type=element_type(node.result.type),
        image_step=emission.program.buffer(node.x).bytes_per_image,
        image_elements=_elements(emission, node.result),
    )
    return Function(
        text=render(args),
        symbol=args.name,
        operands=(node.x,),
        scratch_bytes=source.scratch_bytes,
        has_blob=True,
        is_shared=True,
        headers=_headers(source),
        instances=tuple((kind, store_name, group.vectors) for group in groups),
    )


def _headers(source: Source) -> tuple[str, ...]:
    gather = ("gather.h",) if source.gather is not None or source.is_widened else ()
    pool = () if source.pool is None else ("signs.h",)
    return ("layers.h", *gather, *pool)


def _elements(emission: Emission, value: Value) -> int:
    """Return the length of one image of ``value``, in elements of its C type."""
    if value.type.layout.is_packed:
        return emission.program.buffer(value).bytes_per_image
    return value.type.count


def _kind(node: Layer) -> str:
    if isinstance(node, kernel.XnorLayer):
        return "xnor"
    name = "table" if node.is_tabled else "dot"
    return f"{name}_i8" if node.x.type.elem is Elem.I8 else f"{name}_u8"


def _store_name(node: Layer, source: Source) -> str:
    if not isinstance(node.store, kernel.StoreSigns):
        return "values"
    return "pooled" if source.is_tile_pooled else "signs"


def _weights_text(node: Layer) -> str:
    rows, columns = node.window.kernel
    return f"{node.outputs} x [{node.x.type.channels}, {rows}, {columns}]"


def _shape_text(node: Layer, source: Source, groups: tuple[PanelGroup, ...]) -> str:
    """Return the second line of the comment: fan-in, tile, border, pooling."""
    if isinstance(node, kernel.XnorLayer):
        facts = [f"fan-in {node.fan_in_bits} bits"]
    else:
        facts = [f"fan-in {node.fan_in} pixels"]
    lanes = max(group.outputs for group in groups)
    unit = "images" if source.is_dense else "pixels"
    facts.append(f"tile {'2x2' if source.is_tile_pooled else '4'} {unit} x {lanes} outputs")
    if node.store.border is not None and not source.is_dense:
        facts.append(f"{node.store.border.classes} border classes")
    if isinstance(node.store, kernel.StoreSigns) and node.store.pool is not None:
        rows, columns = node.store.pool.kernel
        facts.append(f"max pooling {rows}x{columns}")
    return ", ".join(facts)


def _zeros(node: Layer) -> ZerosArgs | None:
    used_bytes = 2 * ceil_div(node.outputs, 16)
    if not isinstance(node.store, kernel.StoreSigns) or used_bytes % 8 == 0:
        return None
    return ZerosArgs(at_bytes=used_bytes, count_bytes=pixel_bytes(node.outputs) - used_bytes)


def _first_window(source: Source) -> str:
    if source.gather is not None:
        return f"scratch + {source.gather.scratch_at}"
    if source.frame is not None or source.is_widened or source.is_tabled:
        return "scratch"
    if source.is_dense:
        return f"(const unsigned char *)x + first * {source.windows_column_bytes}"
    return f"image + first * {source.windows_row_bytes}"


def _conv_rows(source: Source) -> tuple[str, str]:
    """Return C expressions for the first row of the convolution in a band, and how many there are."""
    if source.is_tile_pooled:
        return "2 * top", "2 * rows"
    if source.pool is None:
        return "top", "rows"
    step, above = source.pool.window.stride[0], source.pool.window.padding[0]
    first = f"bnncc_less(top * {step}, {above})"
    end = f"bnncc_less((top + rows - 1) * {step} + {source.pool.reach_rows}, {above})"
    return first, f"bnncc_less(bnncc_min({end}, {source.rows}), first)"


def _tiles_to(node: Layer, source: Source) -> str:
    if source.pool is not None:
        return f"scratch + {source.pool.scratch_at}"
    if isinstance(node.store, kernel.StoreSigns):
        return f"result + top * {source.result_columns * source.result_pixel_bytes}"
    return f"(unsigned char *)(result + top * {source.result_columns})"


def _signs(node: Layer, emission: Emission, source: Source) -> SignsArgs | None:
    match node.store:
        case kernel.StoreSigns(limits=limits, flips=flips, flips_after_pool=after):
            if source.pool is not None:
                after = None  # the pass that pools flips
            return SignsArgs(
                limits=f"{emission.pointer(limits, 'int32_t')} + 16 * panel",
                outputs_per_class=limits.type.shape[-1],
                flips="NULL" if flips is None else f"{emission.bytes_pointer(flips)} + 2 * panel",
                flips_after="NULL" if after is None else f"{emission.bytes_pointer(after)} + 2 * panel",
                pixel_bytes=source.result_pixel_bytes,
            )
        case kernel.StoreScores() | kernel.StoreSums():
            return None
        case _:
            assert_never(node.store)


def _values(node: Layer, emission: Emission, source: Source) -> ValuesArgs | None:
    store = node.store
    if isinstance(store, kernel.StoreSigns):
        return None
    scale, shift = (store.scale, store.shift) if isinstance(store, kernel.StoreScores) else (None, None)
    pixels = source.result_rows * source.result_columns
    return ValuesArgs(
        fan_in_bits=node.fan_in_bits if isinstance(node, kernel.XnorLayer) else 0,
        multiply=store.multiply,
        table="NULL" if store.table is None else f"{emission.pointer(store.table, 'int32_t')} + 16 * panel",
        scale="NULL" if scale is None else f"{emission.pointer(scale, 'float')} + 16 * panel",
        shift="NULL" if shift is None else f"{emission.pointer(shift, 'float')} + 16 * panel",
        outputs=node.outputs,
        output_bytes=4 * pixels,
        pixel_bytes=4 * node.outputs if source.is_dense else 4,
    )
