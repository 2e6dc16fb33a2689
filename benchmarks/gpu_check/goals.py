"""What the kernels should reach, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Row = Mapping[str, Any]
Parts = Mapping[str, Sequence[Row]]

POPS: Final = 9.6
"""Of the best public single-bit product on the same processor (fp-cuda, at 32768)."""
LIMITS_US: Final = {("mnist_mlp", 1): 5.0, ("cifar10_convnet", 1): 12.0, ("cifar10_convnet", 4096): 1200.0}
TORCH_GAIN: Final = 5.0
PAPER: Final = (("paper_baseline", 23.0), ("cuBLAS fp32", 3.4))
"""How much faster the paper's kernel was than these, on its GPU, at 8192."""


def goal_rows(parts: Parts) -> list[Row]:
    """Return each goal, what was measured, and whether it is reached; nothing of what was not measured."""
    return [*_products(parts), *_networks(parts), *_paper(parts)]


def _products(parts: Parts) -> list[Row]:
    rows = [
        row
        for name in ("products", "torch-products", "triton-products")
        for row in parts.get(name, ())
        if "pops" in row
    ]
    ours = {size: max(_good(rows, size, "bnncc"), default=0.0) for size in {row["size"] for row in rows}}
    found: list[Row] = []
    if best := max(ours.values(), default=0.0):
        found.append(_goal(f"product above {POPS} POPS", f"{best:.2f}", is_reached=best > POPS))
    for size, pops in sorted(ours.items()):
        peers = max(_good(rows, size, "CUTLASS b1 and"), default=0.0)
        if pops and peers:
            found.append(
                _goal(f"product of {size} above CUTLASS", f"{pops / peers:.2f}x", is_reached=pops > peers)
            )
    return found


def _networks(parts: Parts) -> list[Row]:
    ours, torch = _fastest(parts.get("ours", ())), _fastest(parts.get("torch-networks", ()))
    found: list[Row] = []
    for key, limit in LIMITS_US.items():
        if key in ours:
            name = f"{key[0]}, {key[1]} images in {limit:g} us"
            found.append(_goal(name, f"{ours[key]:.2f}", is_reached=ours[key] <= limit))
    for key in sorted(ours.keys() & torch.keys()):
        gain = torch[key] / ours[key]
        name = f"{key[0]}, {key[1]} images, {TORCH_GAIN:g}x the best of PyTorch"
        found.append(_goal(name, f"{gain:.2f}x", is_reached=gain >= TORCH_GAIN))
    return found


def _paper(parts: Parts) -> list[Row]:
    """Return the paper's own comparisons, repeated."""
    rows = [row for name in ("products", "torch-products") for row in parts.get(name, ()) if "pops" in row]
    found: list[Row] = []
    for size in sorted({row["size"] for row in rows}):
        paper, ours = (
            max(_good(rows, size, "paper_xnor"), default=0.0),
            max(_good(rows, size, "bnncc"), default=0.0),
        )
        for peer, factor in PAPER:
            other = max(_good(rows, size, peer), default=0.0)
            if paper and other:
                what = f"{paper / other:.1f}x; ours {ours / other:.0f}x"
                found.append(
                    {"goal": f"paper's kernel over {peer}, {size}: {factor:g}x in 2016", "measured": what}
                )
    return found


def _good(rows: Sequence[Row], size: int, who: str) -> list[float]:
    return [row["pops"] for row in rows if row["size"] == size and row["who"] == who and _is_right(row)]


def _is_right(row: Row) -> bool:
    return not str(row.get("result", "")).startswith("FAILED")


def _fastest(rows: Sequence[Row]) -> dict[tuple[str, int], float]:
    found: dict[tuple[str, int], float] = {}
    for row in rows:
        if "device_us" in row and _is_right(row):
            key = (row["network"], row["images"])
            found[key] = min(found.get(key, row["device_us"]), row["device_us"])
    return found


def _goal(goal: str, measured: str, *, is_reached: bool) -> Row:
    return {"goal": goal, "measured": measured, "reached": "yes" if is_reached else "NO"}
