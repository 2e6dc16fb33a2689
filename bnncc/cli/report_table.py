"""The table that ``compile`` ends with: every layer, its kernels, what they take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bnncc.toolchain.gate import PRODUCTS


def report_table(report: Mapping[str, Any]) -> Group:
    """Return ``report.json`` for a terminal."""
    targets: Mapping[str, list[dict[str, Any]]] = report["targets"]
    tables = (_table(name, rows) for name, rows in targets.items())
    return Group(*tables, *map(_memory, report["memory"].items()), _size(report))


def _memory(item: tuple[str, Mapping[str, int]]) -> Text:
    name, needs = item
    return Text(
        f"{name}: {needs['weights_bytes']:,} bytes of weights, only read; workspace for one image "
        f"{needs['workspace_bytes_of_1']:,} bytes, for any number {needs['workspace_bytes_of_any']:,}"
    )


def _size(report: Mapping[str, Any]) -> Text:
    packed, full = report["weights_bytes"], report["float32_bytes"]
    return Text(f"weights: {packed:,} bytes in the package, {full:,} as float32")


def _table(target: str, rows: list[dict[str, Any]]) -> Table:
    archs = sorted({arch for row in rows for arch in row.get("archs", {})})
    table = Table(title=target, title_justify="left", box=None, pad_edge=False, header_style="bold")
    has_tiers = any(row.get("chosen") for row in rows)
    for title in ("layer", "kernel", "from", "result", *(("runs",) if has_tiers else ())):
        table.add_column(title, overflow="fold")
    has_measured = any(_is_measured(row) for row in rows)
    table.add_column("constants", justify="right")
    if has_measured:
        table.add_column("cut")
    for arch in archs:
        table.add_column(f"{arch}: registers, shared, warps, products", justify="right")
    for row in (row for row in rows if _runs(row)):
        measured = [_cut(row)] if has_measured else []
        cells = [*_cells(row, archs, has_tiers=has_tiers)]
        table.add_row(
            *map(str, (*cells[: len(cells) - len(archs)], *measured, *cells[len(cells) - len(archs) :]))
        )
    return table


def _runs(row: Mapping[str, Any]) -> bool:
    """Return whether some architecture uses the kernel; the source holds it for the others."""
    chosen: Mapping[str, Mapping[str, str]] = row.get("chosen") or {}
    return not chosen or any(choice["batches"] != "never" for choice in chosen.values())


def _is_measured(row: Mapping[str, Any]) -> bool:
    return str(row.get("by", "")).startswith("measured")


def _cut(row: Mapping[str, Any]) -> str:
    """Return how a layer of the C is cut, and whether that was measured."""
    return f"{row.get('cut', '')} ({'measured' if _is_measured(row) else 'usual'})"


def _cells(row: Mapping[str, Any], archs: list[str], *, has_tiers: bool) -> Iterator[str]:
    tier = f" ({row['tier']})" if row.get("tier") else ""
    yield from (row["layer"], f"{row['op']}{tier}", row["origin"], row["result"])
    if has_tiers:
        chosen: Mapping[str, Mapping[str, str]] = row["chosen"]
        yield "; ".join(f"{arch} {choice['batches']}" for arch, choice in chosen.items()) or "always"
    yield f"{row['constant_bytes']:,}"
    for arch in archs:
        found = row["archs"].get(arch)
        yield ", ".join(_resources(found)) if found else "-"


def _resources(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a kernel takes on one architecture, what that lets run, and what is wrong with it."""
    yield str(found["registers"])
    yield str(found["shared_bytes"])
    limiter = "" if found["limiter"] == "warps" else f" ({found['limiter']})"
    yield f"{found['warps']}/{found['max_warps']}{limiter}"
    instructions: Mapping[str, Any] = found.get("instructions", {})
    counts: Mapping[str, int] = instructions.get("counts", {})
    for name in PRODUCTS:
        if count := sum(counts[item] for item in counts if item.split(".")[0] == name):
            yield f"{count} {name}"
    if found["spill_bytes"]:
        yield f"{found['spill_bytes']} bytes spilled"
    if local := instructions.get("local_accesses"):
        yield f"{local} accesses of local memory"
    yield from (f"calls {name}" for name in dict.fromkeys(instructions.get("calls", ())))
