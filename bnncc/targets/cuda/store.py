"""What a layer does with its sums, as arguments of the templates' store parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from bnncc.ir.kernel import IntegerLayer, KernelProgram, StoreScores, StoreSigns, StoreSums, XnorLayer
from bnncc.ir.types import TensorType
from bnncc.ir.window import Border, Window
from bnncc.targets.cuda.plan import Parameter, ceil_div, constant, packed_form, writes

_NO_POOL = Window(kernel=(1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreArgs:
    """The epilogue of a layer.

    Args:
        is_signs: whether packed signs are stored, else one number an output.
        word: the word that is stored, of the ballot ``fires``.
        fires: the test of one sum in a dense layer; ``fires_i`` that of sum ``i`` of a tile.
        sum: ``multiply * acc`` in a dense layer; ``sum_i`` of sum ``i`` of a tile.
        stored_n: the number that is stored, of ``n``.
        border_rows: row of the border table at each row of sums, as C initializers.
        border_columns: what each column of sums adds to it.
    """

    is_signs: bool
    has_border: bool
    has_table: bool
    has_pool: bool
    has_flips_after_pool: bool
    word: str
    fires: str
    fires_i: str
    sum: str
    sum_i: str
    stored_n: str
    border_rows: str
    border_columns: str
    outputs: int
    sums_h: int
    sums_w: int
    out_h: int
    out_w: int
    pool: Window
    y_layout: str
    y_vectors: int
    y_word_step: int

    @property
    def pool_h(self) -> int:
        """Return the rows of the pool's window."""
        return self.pool.kernel[0]

    @property
    def pool_w(self) -> int:
        """Return the columns of the pool's window."""
        return self.pool.kernel[1]

    @property
    def pool_row(self) -> str:
        """Return the row of sums that ``pool_y`` of result ``row`` looks at, in C."""
        return f"{_times('row', self.pool.stride[0])} + {_times('pool_y', self.pool.dilation[0])}"

    @property
    def pool_column(self) -> str:
        """Return the column of sums that ``pool_x`` of result ``column`` looks at, in C."""
        return f"{_times('column', self.pool.stride[1])} + {_times('pool_x', self.pool.dilation[1])}"

    @property
    def pool_start_y(self) -> str:
        """Return the first row of sums of a tile, in C."""
        return _minus(_times("out_y", self.pool.stride[0]), self.pool.padding[0])

    @property
    def pool_start_x(self) -> str:
        """Return the first column of sums of a tile, in C."""
        return _minus(_times("out_x", self.pool.stride[1]), self.pool.padding[1])


def store_args(layer: XnorLayer | IntegerLayer) -> StoreArgs:
    """Return the arguments of the store parts for ``layer``."""
    store = layer.store
    result = layer.result.type
    sums_h, sums_w = layer.window.output_size(*layer.x.type.spatial)
    border = store.border
    is_signs = isinstance(store, StoreSigns)
    form = packed_form(result) if is_signs else None
    flips = (
        (store.flips, store.flips_after_pool, store.pool) if isinstance(store, StoreSigns) else (None,) * 3
    )
    return StoreArgs(
        is_signs=is_signs,
        has_border=border is not None and border.classes > 1,
        has_table=not isinstance(store, StoreSigns) and store.table is not None,
        word=_word(layer),
        has_flips_after_pool=flips[1] is not None,
        has_pool=flips[2] is not None,
        fires=_fires(layer, "mismatched", "sum"),
        fires_i=_fires(layer, "mismatches[i]", "sums[i]"),
        sum=_sum(layer, "mismatched", "sum"),
        sum_i=_sum(layer, "mismatches[i]", "sums[i]"),
        stored_n="bnncc_affine(__int2float_rn(n), scale[channel], shift[channel])"
        if isinstance(store, StoreScores)
        else "n",
        border_rows=border_rows(border),
        border_columns=border_columns(border),
        outputs=layer.outputs,
        sums_h=sums_h,
        sums_w=sums_w,
        out_h=result.spatial[0],
        out_w=result.spatial[1],
        pool=flips[2] if isinstance(flips[2], Window) else _NO_POOL,
        y_layout=form.function if form else "",
        y_vectors=form.vectors if form else 0,
        y_word_step=form.word_step if form else 0,
    )


def store_parameters(
    program: KernelProgram, layer: XnorLayer | IntegerLayer, limit_type: str = "int"
) -> tuple[Parameter, ...]:
    """Return the kernel's parameters that belong to its store, the result last."""
    store = layer.store
    match store:
        case StoreSigns(limits=limits, flips=flips, flips_after_pool=after):
            found = [constant("limits", limit_type, program, limits)]
            if flips is not None:
                found.append(constant("flips", "unsigned", program, flips))
            if after is not None:
                found.append(constant("flips_after_pool", "unsigned", program, after))
            return (*found, writes("unsigned", layer.result))
        case StoreScores(table=table, scale=scale, shift=shift):
            tables = () if table is None else (constant("table", "int", program, table),)
            scales = constant("scale", "float", program, scale), constant("shift", "float", program, shift)
            return (*tables, *scales, writes("float", layer.result))
        case StoreSums(table=table):
            tables = () if table is None else (constant("table", "int", program, table),)
            return (*tables, writes("int", layer.result))
        case _:
            assert_never(store)


def group_count(outputs: int) -> int:
    """Return the groups of 32 output channels."""
    return ceil_div(outputs, 32)


def stored_groups(layer: XnorLayer | IntegerLayer) -> int:
    """Return the groups that are stored: packed signs fill whole vectors, zeros past the last channel."""
    groups = group_count(layer.outputs)
    return ceil_div(groups, 4) * 4 if isinstance(layer.store, StoreSigns) else groups


def border_rows(border: Border | None) -> str:
    """Return the first table row of each row of pixels, as C initializers."""
    if border is None:
        return ""
    return ", ".join(str(row * border.column_classes) for row in border.rows)


def border_columns(border: Border | None) -> str:
    """Return what each column of pixels adds to the table row, as C initializers."""
    return "" if border is None else ", ".join(map(str, border.columns))


def result_text(tensor: TensorType) -> str:
    """Return a type as comments show it, without the layout."""
    return f"{tensor.elem.value}[{', '.join(map(str, tensor.shape))}]"


def _times(name: str, factor: int) -> str:
    return name if factor == 1 else f"{name} * {factor}"


def _minus(place: str, offset: int) -> str:
    return place if offset == 0 else f"{place} - {offset}"


def _word(layer: XnorLayer | IntegerLayer) -> str:
    """Return what is stored of a ballot in C; a flip after a pool comes later."""
    if not isinstance(layer.store, StoreSigns):
        return ""
    has_after = layer.store.flips_after_pool is not None and layer.store.pool is None
    flips = (
        " ^ flips[group]" if layer.store.flips else "",
        " ^ flips_after_pool[group]" if has_after else "",
    )
    return f"fires{flips[0]}{flips[1]}"


def _fires(layer: XnorLayer | IntegerLayer, mismatches: str, integer_sum: str) -> str:
    return f"{mismatches} <= limit" if isinstance(layer, XnorLayer) else f"{integer_sum} >= limit"


def _sum(layer: XnorLayer | IntegerLayer, mismatches: str, integer_sum: str) -> str:
    """Return ``multiply * acc`` in C."""
    if isinstance(layer.store, StoreSigns):
        return ""
    factor = "" if layer.store.multiply == 1 else f"{layer.store.multiply} * "
    if isinstance(layer, XnorLayer):
        acc = f"{layer.fan_in_bits} - 2 * {mismatches}"
        return f"{factor}({acc})" if factor else acc
    return f"{factor}{integer_sum}"
