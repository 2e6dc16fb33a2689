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
    tables = (table for name, rows in targets.items() for table in _tables(name, rows))
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


def _tables(target: str, rows: list[dict[str, Any]]) -> Iterator[Table]:
    """Yield what runs when, and what its machine code takes where there is some."""
    order = {layer: place for place, layer in enumerate(dict.fromkeys(row["layer"] for row in rows))}
    shown = sorted((row for row in rows if _runs(row)), key=lambda row: order[row["layer"]])
    yield _layers(target, shown)
    if any(row.get("archs") for row in shown):
        yield _machine_code(shown)


def _layers(target: str, rows: list[dict[str, Any]]) -> Table:
    has_tiers = any(row.get("chosen") for row in rows)
    has_measured = any(_is_measured(row) for row in rows)
    table = _empty(target)
    for title in ("layer", "kernel", "from", "result"):
        table.add_column(title, overflow="fold")
    table.add_column("constants", justify="right")
    if has_measured:
        table.add_column("cut")
    if has_tiers:
        table.add_column("runs", overflow="fold")
    for row in rows:
        cells = [row["layer"], _kernel(row), row["origin"], row["result"], f"{row['constant_bytes']:,}"]
        measured = [_cut(row)] if has_measured else []
        table.add_row(*cells, *measured, *([_runs_where(row)] if has_tiers else []))
    return table


def _machine_code(rows: list[dict[str, Any]]) -> Table:
    table = _empty("")
    table.add_column("layer", overflow="fold")
    table.add_column("kernel", overflow="fold")
    table.add_column("for")
    table.add_column("registers", justify="right")
    table.add_column("shared", justify="right")
    table.add_column("warps", justify="right")
    table.add_column("limited by")
    table.add_column("products", overflow="fold")
    for row in rows:
        for arch, found in sorted(row.get("archs", {}).items()):
            table.add_row(row["layer"], _kernel(row), arch, *_resources(found))
    return table


def _empty(title: str) -> Table:
    return Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")


def _runs(row: Mapping[str, Any]) -> bool:
    """Return whether some architecture uses the kernel; the source holds it for the others."""
    chosen: Mapping[str, Mapping[str, str]] = row.get("chosen") or {}
    return not chosen or any(choice["batches"] != "never" for choice in chosen.values())


def _is_measured(row: Mapping[str, Any]) -> bool:
    return str(row.get("by", "")).startswith("measured")


def _cut(row: Mapping[str, Any]) -> str:
    """Return how a layer of the C is cut, and whether that was measured."""
    return f"{row.get('cut', '')} ({'measured' if _is_measured(row) else 'usual'})"


def _kernel(row: Mapping[str, Any]) -> str:
    return f"{row['op']} ({row['tier']})" if row.get("tier") else str(row["op"])


def _runs_where(row: Mapping[str, Any]) -> str:
    """Return for which batches the kernel runs, by architecture."""
    chosen: Mapping[str, Mapping[str, str]] = row.get("chosen") or {}
    return "\n".join(f"{arch} {choice['batches']}" for arch, choice in chosen.items()) or "always"


def _resources(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a kernel takes on one architecture, what that lets run, and what is wrong with it."""
    yield str(found["registers"])
    yield f"{found['shared_bytes']:,}"
    yield f"{found['warps']}/{found['max_warps']}"
    yield "" if found["limiter"] == "warps" else str(found["limiter"])
    yield ", ".join(_instructions(found))


def _instructions(found: Mapping[str, Any]) -> Iterator[str]:
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
