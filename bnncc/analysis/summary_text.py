"""The summary of a network as a table of plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bnncc.analysis.summary import LayerSummary, Summary
from bnncc.ir.types import TensorType

_TITLES = ("layer", "operation", "in bits", "output", "1-bit", "32-bit", "bytes", "binary MACs", "other MACs")
_LEFT = ("layer", "operation", "output")


def summary_text(summary: Summary) -> str:
    """Return ``summary`` as the table that `bnncc summary` prints."""
    rows = [_row(layer) for layer in summary.layers]
    total = (
        "total",
        "",
        "",
        "",
        _count(summary.binary_parameters),
        _count(summary.real_parameters),
        _count(summary.memory_bytes),
        _count(summary.binary_macs),
        _count(summary.other_macs),
    )
    table = _aligned([_TITLES, *rows, total])
    rule = "-" * max(map(len, table))
    inputs = ", ".join(map(_type, summary.inputs))
    ratio = f"{summary.compression:.1f} times smaller than in float32"
    lines = [
        f"{summary.name}: {inputs}",
        table[0],
        rule,
        *table[1:-1],
        rule,
        table[-1],
        f"weights: {_bytes(summary.memory_bytes)} packed, {ratio} ({_bytes(summary.float_memory_bytes)})",
        _float_work(summary),
        f"binary MACs: {_share(summary.binary_macs, summary.binary_macs + summary.other_macs)}",
    ]
    return "\n".join(lines)


def _float_work(summary: Summary) -> str:
    """Return what is not free: the operations that do not fold, by kind, the most expensive first."""
    kinds = Counter[str]()
    for layer in summary.layers:
        kinds[layer.op] += summary.float_ops.get(layer.name, 0)
    spent = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common() if count)
    total = sum(summary.float_ops.values())
    return f"float operations: {total:,}" + (f" ({spent})" if spent else "") + "; all else is free"


def _row(layer: LayerSummary) -> tuple[str, ...]:
    return (
        layer.name,
        layer.op,
        str(layer.input_bits),
        _type(layer.output),
        _count(layer.binary_parameters),
        _count(layer.real_parameters),
        _count(layer.memory_bytes),
        _count(layer.binary_macs),
        _count(layer.other_macs),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return [
        "  ".join(
            cell.ljust(width) if title in _LEFT else cell.rjust(width)
            for cell, width, title in zip(row, widths, _TITLES, strict=True)
        ).rstrip()
        for row in rows
    ]


def _type(found: TensorType) -> str:
    return f"{found.elem.value}[{', '.join(map(str, found.shape))}]"


def _count(number: int) -> str:
    return f"{number:,}" if number else "-"


def _bytes(number: int) -> str:
    return f"{number:,} bytes" if number < 10_000 else f"{number / 1000:,.1f} kB"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%} of all" if whole else "there are none"
