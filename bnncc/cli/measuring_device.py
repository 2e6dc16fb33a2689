"""``bench --backend cuda``: times on the device, and from host to host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnncc.cli.measuring import Timing, measure
from bnncc.cli.talk import emit_json, out, say
from bnncc.diagnostics import DataError

if TYPE_CHECKING:
    from bnncc.runtime.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """One batch size: the time of the kernels, that of a call, and how the kernels are launched."""

    device_us: float
    host: Timing
    how: str


def bench_device(session: Session, sizes: tuple[int, ...], seconds: float, *, as_json: bool) -> None:
    """Time ``session`` at each batch size, and show it."""
    from bnncc.runtime.random_inputs import random_inputs

    if len(session.graph.inputs) != 1:
        raise DataError("bench takes networks with one input")
    (name,) = (value.name for value in session.graph.inputs)
    rows: list[DeviceRow] = []
    for size in sizes:
        images = random_inputs(session.graph, size, seed=0)[name]
        device = session.time_on_device({name: images})
        host = measure(lambda x: session.run({name: x}), images, seconds)
        rows.append(DeviceRow(device_us=1e6 * device.seconds, host=host, how=device.how))
    if as_json:
        emit_json({"backend": "cuda", "rows": [_as_json(row) for row in rows]})
    else:
        _show(rows)


def _as_json(row: DeviceRow) -> dict[str, float | int | str]:
    return {
        "batch": row.host.batch,
        "device_us_per_image": round(row.device_us / row.host.batch, 3),
        "host_us_per_image": round(row.host.us_per_image, 3),
        "launches": row.how,
    }


def _show(rows: list[DeviceRow]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("batch", "on the device, us/image", "from host to host"):
        table.add_column(title, justify="right")
    table.add_column("launches")
    for row in rows:
        batch = row.host.batch
        table.add_row(str(batch), f"{row.device_us / batch:.3f}", f"{row.host.us_per_image:.3f}", row.how)
    out().print(table)
    say("medians; on the device: CUDA events around a run whose inputs and outputs are there")
