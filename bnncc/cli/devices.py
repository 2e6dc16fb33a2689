"""``devices``: the described processors and GPUs, and what a network would take on one at least."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnncc.cli.options import Define, Json, parse_overrides
from bnncc.cli.talk import emit_json, out, say

if TYPE_CHECKING:
    from bnncc.targets.device_files import DeviceFile

DEFAULT_DEVICE = "zen4"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Compile")(devices)


def devices(
    network: Annotated[
        Path | None, typer.Argument(metavar="MODEL.bnn|PKG", help="Predict the time of its layers.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.toml", help="Show or use this one.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1 << 20, help="Images of a prediction.")] = 1,
    define: Define = None,
    *,
    as_json: Json = False,
) -> None:
    """List the described devices; with a network, the least time of each layer and what bounds it."""
    from bnncc.targets.device_files import described_devices, device_named

    if network is not None:
        _predict(
            network, device_named(device or DEFAULT_DEVICE), batch, parse_overrides(define), as_json=as_json
        )
        return
    found = described_devices() if device is None else (device_named(device),)
    if as_json:
        emit_json({item.name: _as_json(item) for item in found})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("device", "for", "number", "value", "from"):
        table.add_column(title, overflow="fold")
    for item in found:
        target = item.words.get("arch") or item.words["march"]
        for index, (name, value) in enumerate(item.numbers.items()):
            first = (item.name, target) if index == 0 else ("", "")
            table.add_row(*first, name, f"{value:g}", item.sources[name])
    out().print(table)


def _as_json(item: DeviceFile) -> dict[str, Any]:
    return {
        "kind": item.kind,
        **item.words,
        "numbers": dict(item.numbers),
        "sources": dict(item.sources),
    }


def _predict(
    network: Path, device: DeviceFile, images: int, overrides: dict[str, str], *, as_json: bool
) -> None:
    from rich.table import Table

    from bnncc.analysis.cost import costs
    from bnncc.cli.tuning import lowered_network
    from bnncc.passes.pipeline import layout_passes, run_pipeline
    from bnncc.targets.c.forms import MACHINES
    from bnncc.targets.cuda.target import CudaTarget
    from bnncc.targets.lowering import ignore
    from bnncc.targets.roofline import predicted, roof_of

    is_gpu = device.kind == "gpu"
    machine = MACHINES.get(device.words.get("march", ""), MACHINES["generic"])
    storage = CudaTarget().storage if is_gpu else machine.form.storage
    graph = run_pipeline(lowered_network(network, overrides), layout_passes(storage), ignore, first_step=0)
    roof = roof_of(device)
    found = {name: predicted(cost, roof, images) for name, cost in costs(graph).items()}
    total = sum(item.seconds for item in found.values())
    if as_json:
        layers = {name: {"us": 1e6 * item.seconds, "bound": item.bound} for name, item in found.items()}
        emit_json({"device": device.name, "images": images, "us": 1e6 * total, "layers": layers})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer")
    table.add_column("us at least", justify="right")
    table.add_column("bound by")
    for name, item in found.items():
        table.add_row(name, f"{1e6 * item.seconds:.2f}", item.bound)
    table.add_row("all", f"{1e6 * total:.2f}", "")
    out().print(table)
    how = "a launch a layer" if is_gpu else "one thread"
    say(f"{device.name}, {images} images, {how}: a model, no measurement")
