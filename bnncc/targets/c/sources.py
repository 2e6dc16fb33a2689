"""How the windows of a layer are reached: in the input itself, in a framed copy, or gathered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from bnncc.ir import kernel
from bnncc.ir.types import TensorType
from bnncc.ir.window import Window
from bnncc.targets.c.cut import BAND_BYTES, GATHER_BYTES, LayerCut
from bnncc.targets.c.geometry import (
    Taps,
    align,
    band_rows,
    ceil_div,
    is_tile_pool,
    pixel_bytes,
    reach,
    taps_of,
)
from bnncc.targets.c.text import Emission

TABLE_TERMS: Final = 15
TABLE_BYTES: Final = 192
"""Pixels of a word of tabled weights, bytes of the tables that it selects in: as in ``lanes_avx512.h``."""
TABLE_IMAGES: Final = 8
"""Images whose tables are held at a time; weights are read again for the next ones."""

Layer: TypeAlias = kernel.XnorLayer | kernel.IntegerLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolArgs:
    """Pooling in a pass of its own, for windows that are no tile: conv signs of a band, then OR."""

    window: Window
    height: int
    width: int
    words: int
    reach_rows: int
    scratch_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameArgs:
    """A band of the image copied into a frame of zero pixels; an integer layer frames each plane.

    Args:
        height, row_bytes, top_rows, left_bytes, right_bytes: as in ``bnncc_frame``.
        framed_row_bytes: of the copy.
        planes: 1 for packed signs.
        plane_bytes: from a plane of the copy to the next.
        image_plane_bytes: from a plane of the image to the next.
    """

    height: int
    row_bytes: int
    top_rows: int
    left_bytes: int
    right_bytes: int
    framed_row_bytes: int
    planes: int = 1
    plane_bytes: int = 0
    image_plane_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherArgs:
    """Windows of an integer layer as contiguous bytes, as in ``bnncc_gather``."""

    tap_rows: int
    tap_columns: int
    tap_row_bytes: int
    tap_column_bytes: int
    terms: int
    window_bytes: int
    step_bytes: int
    row_step_bytes: int
    scratch_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where windows start, and how much of an image is worked on at a time.

    Args:
        is_dense: one window an image: the images of a chunk are its pixels.
        is_widened: a dense integer layer whose rows are copied, because they end within a word.
        is_tabled: a dense integer layer that looks up sums of pixels, tables of some images at a time.
        frame, gather, pool: the steps around the tiles, None where not needed.
        rows, columns: of the convolution.
        result_rows, result_columns, result_pixel_bytes: of what is stored.
        band_rows: result rows worked on at a time.
        windows_row_bytes, windows_column_bytes: as in ``bnncc_windows``.
    """

    taps: Taps
    is_dense: bool
    is_widened: bool = False
    is_tabled: bool = False
    is_tile_pooled: bool = False
    frame: FrameArgs | None = None
    gather: GatherArgs | None = None
    pool: PoolArgs | None = None
    rows: int = 1
    columns: int = 1
    stride_rows: int = 1
    reach_rows: int = 1
    result_rows: int = 1
    result_columns: int = 1
    result_pixel_bytes: int = 0
    band_rows: int = 1
    windows_row_bytes: int = 0
    windows_column_bytes: int = 0
    terms: int = 0
    window_bytes: int = 0
    scratch_bytes: int = 0


def source_of(node: Layer, emission: Emission) -> Source:
    """Return how the windows of ``node`` are reached."""
    is_single = node.window.output_size(*node.x.type.spatial) == (1, 1) and not node.window.is_padded
    pool = node.store.pool if isinstance(node.store, kernel.StoreSigns) else None
    if is_single and pool is None:
        covers_all = node.window.kernel == node.x.type.spatial
        if isinstance(node, kernel.XnorLayer):
            return _dense_signs(node, emission)
        if node.is_tabled:
            return _dense_tables(node)
        if covers_all:
            return _dense_pixels(node, emission)
    return _pooled(
        _conv_signs(node, emission) if isinstance(node, kernel.XnorLayer) else _conv_pixels(node),
        node,
        emission.cut.of(node.result.name),
    )


def _pixel_words(x: TensorType, word_bytes: int) -> int:
    return ceil_div(x.channels, 8 * word_bytes)


def _dense_signs(node: kernel.XnorLayer, emission: Emission) -> Source:
    x, word_bytes = node.x.type, emission.word_bytes
    step = pixel_bytes(x.channels)
    strides = (x.spatial[1] * step, step)
    return Source(
        taps=taps_of(node.window, _pixel_words(x, word_bytes), strides, word_bytes),
        is_dense=True,
        windows_column_bytes=x.spatial[0] * strides[0],
        result_pixel_bytes=pixel_bytes(node.outputs),
    )


def _pixel_taps(terms: int) -> Taps:
    words = ceil_div(terms, 4)
    return Taps(rows=1, columns=1, words=words, row_bytes=0, column_bytes=0, panel_bytes=64 * words)


def _dense_tables(node: kernel.IntegerLayer) -> Source:
    words = ceil_div(node.fan_in, TABLE_TERMS)
    window_bytes = 64 + words * TABLE_BYTES
    return Source(
        taps=Taps(rows=1, columns=1, words=words, row_bytes=0, column_bytes=0, panel_bytes=32 * words),
        is_dense=True,
        is_tabled=True,
        windows_column_bytes=window_bytes,
        terms=node.fan_in,
        window_bytes=window_bytes,
        result_pixel_bytes=pixel_bytes(node.outputs),
        scratch_bytes=TABLE_IMAGES * window_bytes,
    )


def _dense_pixels(node: kernel.IntegerLayer, emission: Emission) -> Source:
    taps = _pixel_taps(node.fan_in)
    is_widened = node.fan_in % 4 != 0
    return Source(
        taps=taps,
        is_dense=True,
        is_widened=is_widened,
        windows_column_bytes=4 * taps.words,
        terms=node.fan_in,
        window_bytes=4 * taps.words,
        result_pixel_bytes=pixel_bytes(node.outputs),
        scratch_bytes=align(emission.chunk_images * 4 * taps.words) if is_widened else 0,
    )


def _conv_signs(node: kernel.XnorLayer, emission: Emission) -> Source:
    x, window, word_bytes = node.x.type, node.window, emission.word_bytes
    height, width = x.spatial
    step = pixel_bytes(x.channels)
    rows, columns = window.output_size(height, width)
    frame = None
    row_bytes = width * step
    if window.is_padded:
        top, left, _, right = window.padding
        framed = row_bytes + (left + right) * step
        frame = FrameArgs(
            height=height,
            row_bytes=row_bytes,
            top_rows=top,
            left_bytes=left * step,
            right_bytes=right * step,
            framed_row_bytes=framed,
        )
        row_bytes = framed
    return Source(
        taps=taps_of(window, _pixel_words(x, word_bytes), (row_bytes, step), word_bytes),
        is_dense=False,
        frame=frame,
        rows=rows,
        columns=columns,
        stride_rows=window.stride[0],
        reach_rows=reach(window, 0),
        windows_row_bytes=window.stride[0] * row_bytes,
        windows_column_bytes=window.stride[1] * step,
    )


def _conv_pixels(node: kernel.IntegerLayer) -> Source:
    x, window = node.x.type, node.window
    height, width = x.spatial
    top, left, _, right = window.padding
    rows, columns = window.output_size(height, width)
    framed = left + width + right
    taps = _pixel_taps(node.fan_in)
    return Source(
        taps=taps,
        is_dense=False,
        frame=FrameArgs(
            height=height,
            row_bytes=width,
            top_rows=top,
            left_bytes=left,
            right_bytes=right,
            framed_row_bytes=framed,
            planes=x.channels,
            image_plane_bytes=height * width,
        ),
        gather=GatherArgs(
            tap_rows=window.kernel[0],
            tap_columns=window.kernel[1],
            tap_row_bytes=window.dilation[0] * framed,
            tap_column_bytes=window.dilation[1],
            terms=node.fan_in,
            window_bytes=4 * taps.words,
            step_bytes=window.stride[1],
            row_step_bytes=window.stride[0] * framed,
            scratch_at=0,
        ),
        rows=rows,
        columns=columns,
        stride_rows=window.stride[0],
        reach_rows=reach(window, 0),
        windows_row_bytes=columns * 4 * taps.words,
        windows_column_bytes=4 * taps.words,
    )


def _pooled(source: Source, node: Layer, cut: LayerCut) -> Source:
    """Return ``source`` with its pooling, its bands, and a place in scratch memory for everything."""
    window = node.store.pool if isinstance(node.store, kernel.StoreSigns) else None
    is_tile = is_tile_pool(window) and cut.is_pooled_in_tiles
    size = (source.rows, source.columns)
    result_rows, result_columns = size if window is None else window.output_size(*size)
    conv_per_result = 1 if window is None else window.stride[0]
    result_bytes = pixel_bytes(node.outputs)
    height = band_rows(result_rows, *_row_cost(source, conv_per_result, cut))
    band = replace(
        source,
        is_tile_pooled=is_tile,
        result_rows=result_rows,
        result_columns=result_columns,
        result_pixel_bytes=result_bytes,
        band_rows=height,
    )
    conv_rows = height
    pool = None
    if window is not None:
        conv_rows = min(source.rows, (height - 1) * window.stride[0] + reach(window, 0))
        if not is_tile:
            pool = PoolArgs(
                window=window,
                height=source.rows,
                width=source.columns,
                words=result_bytes // 8,
                reach_rows=reach(window, 0),
                scratch_at=0,
            )
    return _placed(replace(band, pool=pool), conv_rows)


def _row_cost(source: Source, conv_per_result: int, cut: LayerCut) -> tuple[int, int]:
    """Return bytes that one more result row of a band takes, and the budget for them."""
    budget = cut.band_bytes or (BAND_BYTES if source.gather is None else GATHER_BYTES)
    has_copy = source.gather is not None or source.frame is not None
    return conv_per_result * source.windows_row_bytes if has_copy else 0, budget


def _placed(source: Source, conv_rows: int) -> Source:
    """Return ``source`` with the offsets of framed copy, gathered windows and conv signs in scratch."""
    end = 0
    frame, gather, pool = source.frame, source.gather, source.pool
    if frame is not None:
        plane = ((conv_rows - 1) * source.stride_rows + source.reach_rows) * frame.framed_row_bytes
        frame = replace(frame, plane_bytes=plane)
        # Four bytes more: gathering reads words of which only the first bytes count, and writes such.
        end = align(frame.planes * plane + 4)
    if gather is not None:
        gather = replace(gather, scratch_at=end)
        end += align(conv_rows * source.windows_row_bytes + 4)
    if pool is not None:
        pool = replace(pool, scratch_at=end)
        end += align(conv_rows * source.columns * source.result_pixel_bytes)
    return replace(source, frame=frame, gather=gather, pool=pool, scratch_bytes=end)
