"""Bars of the rates of matrix products and of the times of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
Bars = list[tuple[str, float]]


def draw_plots(report: Mapping[str, Any], folder: Path, stem: str) -> str:
    """Return what was drawn, in words."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "none; matplotlib is not installed"
    drawn = []
    for title, unit, bars in (*_products(report["parts"]), *_networks(report["parts"])):
        figure = Figure(figsize=(7, 0.6 + 0.32 * len(bars)), layout="constrained")
        axes = figure.subplots()
        bars.sort(key=lambda bar: bar[1])
        axes.barh([name for name, _ in bars], [value for _, value in bars], color="#4a7ebb")
        axes.set(title=title, xlabel=unit, xscale="log")
        name = title.lower().replace(" ", "_").replace(",", "")
        figure.savefig(folder / f"{stem}_{name}.svg")
        drawn.append(name)
    return ", ".join(drawn) or "none; nothing was timed"


def _products(parts: Mapping[str, Sequence[Row]]) -> list[tuple[str, str, Bars]]:
    rows = [
        row
        for name in ("products", "torch-products", "triton-products")
        for row in parts.get(name, ())
        if "pops" in row
    ]
    sizes = sorted({row["size"] for row in rows})
    return [
        (
            f"Product of {size}",
            "10^15 operations a second",
            [(_label(row), row["pops"]) for row in rows if row["size"] == size],
        )
        for size in sizes
    ]


def _networks(parts: Mapping[str, Sequence[Row]]) -> list[tuple[str, str, Bars]]:
    rows = [row for name in ("ours", "torch-networks") for row in parts.get(name, ()) if "device_us" in row]
    keys = sorted({(row["network"], row["images"]) for row in rows})
    return [
        (
            f"{network}, {images} images",
            "microseconds",
            [
                (_label(row), row["device_us"])
                for row in rows
                if (row["network"], row["images"]) == (network, images)
            ],
        )
        for network, images in keys
    ]


def _label(row: Row) -> str:
    return f"{row['who']} {row.get('kernels', '')}".strip()
