"""Where the words of windows lie, how outputs are grouped into tiles, how images are cut into bands."""

from __future__ import annotations

from dataclasses import dataclass

from bnncc.ir.types import TensorType
from bnncc.ir.window import Window
from bnncc.targets.c.cut import TILE_PANELS
from bnncc.targets.c.forms import OUTPUTS_PER_PANEL


def ceil_div(a: int, b: int) -> int:
    """Return ``a / b`` rounded up."""
    return -(-a // b)


def pixel_bytes(channels: int) -> int:
    """Return the bytes of one pixel of packed signs: whole 64-bit words."""
    return ceil_div(channels, 64) * 8


def packed_bytes(tensor: TensorType) -> int:
    """Return the bytes of one image of packed signs."""
    return tensor.spatial[0] * tensor.spatial[1] * pixel_bytes(tensor.channels)


def align(size: int) -> int:
    """Return ``size`` rounded up to whole cache lines."""
    return ceil_div(size, 64) * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """The runs of contiguous words of one window; see ``bnncc_taps`` in the C headers."""

    rows: int
    columns: int
    words: int
    row_bytes: int
    column_bytes: int
    panel_bytes: int


def taps_of(window: Window, pixel_words: int, strides: tuple[int, int], word_bytes: int) -> Taps:
    """Return the runs of ``window``, as few and as long as possible.

    Args:
        window: its kernel and dilation count.
        pixel_words: words of the channels of one pixel.
        strides: bytes from a row and from a pixel of the image to the next.
        word_bytes: bytes of a word.
    """
    rows, columns = window.kernel
    row_bytes, column_bytes = strides[0] * window.dilation[0], strides[1] * window.dilation[1]
    words = pixel_words
    panel_bytes = rows * columns * pixel_words * word_bytes * OUTPUTS_PER_PANEL
    if columns == 1 or words * word_bytes == column_bytes:
        words, columns, column_bytes = words * columns, 1, 0
        if rows == 1 or words * word_bytes == row_bytes:
            words, rows, row_bytes = words * rows, 1, 0
    return Taps(
        rows=rows,
        columns=columns,
        words=words,
        row_bytes=row_bytes,
        column_bytes=column_bytes,
        panel_bytes=panel_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelGroup:
    """Panels ``first``, ``first + vectors`` ... below ``end``, computed ``vectors`` at a time.

    ``first_step`` counts the steps of the groups before this one.
    """

    first: int
    end: int
    vectors: int
    first_step: int = 0

    @property
    def end_step(self) -> int:
        """Return the steps of this group and of those before it."""
        return self.first_step + (self.end - self.first) // self.vectors

    @property
    def outputs(self) -> int:
        """Return how many outputs one step computes."""
        return self.vectors * OUTPUTS_PER_PANEL


def panel_groups(outputs: int, most: int = TILE_PANELS) -> tuple[PanelGroup, ...]:
    """Return the panels of ``outputs`` in groups of at most ``most``, as even as possible."""
    panels = ceil_div(outputs, OUTPUTS_PER_PANEL)
    groups = ceil_div(panels, most)
    large = ceil_div(panels, groups)
    small_groups = groups * large - panels
    boundary = (groups - small_groups) * large
    parts = (
        PanelGroup(first=0, end=boundary, vectors=large),
        PanelGroup(first=boundary, end=panels, vectors=large - 1, first_step=groups - small_groups),
    )
    return tuple(part for part in parts if part.first < part.end)


def paired_groups(outputs: int) -> tuple[PanelGroup, ...]:
    """Return the panels of ``outputs`` in groups that begin at even ones: two share a vector of weights."""
    panels = ceil_div(outputs, OUTPUTS_PER_PANEL)
    whole = panels // TILE_PANELS * TILE_PANELS
    parts = (
        PanelGroup(first=0, end=whole, vectors=TILE_PANELS),
        PanelGroup(first=whole, end=panels, vectors=max(1, panels - whole), first_step=whole // TILE_PANELS),
    )
    return tuple(part for part in parts if part.first < part.end)


def reach(window: Window, axis: int) -> int:
    """Return how many pixels a window spans along ``axis``."""
    return window.dilation[axis] * (window.kernel[axis] - 1) + 1


def is_tile_pool(pool: Window | None) -> bool:
    """Return whether ``pool`` takes 2x2 pixels, side by side: one tile of windows."""
    return pool == Window(kernel=(2, 2), stride=(2, 2))


def band_rows(rows: int, row_bytes: int, budget: int) -> int:
    """Return how many of ``rows`` to take at a time, in bands of even height within ``budget`` bytes."""
    most = max(1, budget // max(1, row_bytes))
    return ceil_div(rows, ceil_div(rows, most))
