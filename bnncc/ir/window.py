"""Sliding windows: geometry, and the classes of output pixels that see the same part of the border."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window that slides over ``[H, W]``.

    Args:
        kernel: rows and columns of taps.
        stride: steps, rows and columns.
        padding: rows and columns added outside the image: top, left, bottom, right.
        dilation: distance between taps, rows and columns.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the result; not positive where the window does not fit."""
        top, left, bottom, right = self.padding
        reach_rows = self.dilation[0] * (self.kernel[0] - 1) + 1
        reach_columns = self.dilation[1] * (self.kernel[1] - 1) + 1
        return (
            (height + top + bottom - reach_rows) // self.stride[0] + 1,
            (width + left + right - reach_columns) // self.stride[1] + 1,
        )

    @property
    def is_padded(self) -> bool:
        """Return whether any tap can fall outside the image."""
        return any(self.padding)

    @property
    def taps(self) -> int:
        """Return the number of taps."""
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """Which row of a border table each output pixel uses.

    Pixel ``(y, x)`` uses row ``rows[y] * column_classes + columns[x]``. For a 3x3 kernel with
    padding 1 there are nine classes: corners, edges, inside.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def row_classes(self) -> int:
        """Return the number of different row classes."""
        return max(self.rows, default=0) + 1

    @property
    def column_classes(self) -> int:
        """Return the number of different column classes."""
        return max(self.columns, default=0) + 1

    @property
    def classes(self) -> int:
        """Return the number of rows of the table."""
        return self.row_classes * self.column_classes

    def index(self, y: int, x: int) -> int:
        """Return the table row of pixel ``(y, x)``."""
        return self.rows[y] * self.column_classes + self.columns[x]


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderTaps:
    """A border, and for each of its row and column classes the taps inside the image."""

    border: Border
    row_taps: tuple[tuple[bool, ...], ...]
    column_taps: tuple[tuple[bool, ...], ...]


def border_taps(window: Window, height: int, width: int) -> BorderTaps:
    """Return the border classes of ``window`` over an image of ``height`` x ``width``."""
    rows, row_taps = _classes(_axis_taps(window, height, 0))
    columns, column_taps = _classes(_axis_taps(window, width, 1))
    return BorderTaps(border=Border(rows=rows, columns=columns), row_taps=row_taps, column_taps=column_taps)


def _axis_taps(window: Window, size: int, axis: int) -> tuple[tuple[bool, ...], ...]:
    padded = size + window.padding[axis] + window.padding[axis + 2]
    reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1
    outputs = (padded - reach) // window.stride[axis] + 1
    return tuple(
        tuple(
            0 <= out * window.stride[axis] - window.padding[axis] + tap * window.dilation[axis] < size
            for tap in range(window.kernel[axis])
        )
        for out in range(outputs)
    )


def _classes(
    patterns: tuple[tuple[bool, ...], ...],
) -> tuple[tuple[int, ...], tuple[tuple[bool, ...], ...]]:
    """Return the class of each pattern, numbered in order of appearance, and the pattern of each class."""
    distinct = tuple(dict.fromkeys(patterns))
    return tuple(distinct.index(pattern) for pattern in patterns), distinct
