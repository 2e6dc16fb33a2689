"""``bench``: what the generated code gains on this machine, measured plainly."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from bnncc.cli.options import Json, PackageFile, RunFuse, parse_list
from bnncc.cli.talk import emit_json, out, say, warn
from bnncc.diagnostics import DataError

MIN_REPETITIONS = 5


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Use")(bench)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Time per batch over several repetitions."""

    batch: int
    median_us: float
    best_us: float
    repetitions: int

    @property
    def us_per_image(self) -> float:
        """Return the median time of one image."""
        return self.median_us / self.batch


def measure(run: Callable[[Any], Any], images: Any, budget_s: float) -> Timing:  # noqa: ANN401 - arrays
    """Return the time of ``run(images)``, repeated for about ``budget_s`` after a warm-up."""
    run(images)
    run(images)
    times: list[float] = []
    end = time.perf_counter() + budget_s
    while len(times) < MIN_REPETITIONS or time.perf_counter() < end:
        started = time.perf_counter()
        run(images)
        times.append(1e6 * (time.perf_counter() - started))
    return Timing(
        batch=len(images), median_us=statistics.median(times), best_us=min(times), repetitions=len(times)
    )


def bench(  # noqa: PLR0913 - the options of the command
    package: PackageFile,
    batch: Annotated[str, typer.Option(metavar="LIST", help="Batch sizes.")] = "1,16,256",
    seconds: Annotated[float, typer.Option(min=0.01, help="Time spent on each figure.")] = 0.5,
    *,
    backend: Annotated[str, typer.Option(metavar="c|cuda", help="What runs.")] = "c",
    device: Annotated[int, typer.Option(min=0, help="The GPU of --backend cuda.")] = 0,
    graph: Annotated[bool, typer.Option(help="Replay CUDA graphs with --backend cuda.")] = True,
    fuse: RunFuse = None,
    as_json: Json = False,
) -> None:
    """Time the C backend on one thread, beside a float network of the same shape in torch, if it is there.

    With --backend cuda: time on the device, and from host to host.
    """
    from bnncc.codegen.package import Package
    from bnncc.runtime.memory import peak_bytes, restart_peak
    from bnncc.runtime.random_inputs import random_inputs
    from bnncc.runtime.session import Session

    sizes = tuple(positive(item) for item in parse_list(batch, (), "--batch"))
    if backend not in {"c", "cuda"}:
        raise typer.BadParameter(f"'{backend}' is neither c nor cuda", param_hint="--backend")
    if backend == "cuda":
        from bnncc.cli.measuring_device import bench_device

        with Session(Package.load(package), "cuda", device=device, graph=graph, fuse=fuse) as session:
            bench_device(session, sizes, seconds, as_json=as_json)
        return
    rows = []
    started_bytes = restart_peak()
    with Session(Package.load(package), "c", threads=1) as session:
        if len(session.graph.inputs) != 1:
            raise DataError("bench takes networks with one input")
        (name,) = (value.name for value in session.graph.inputs)
        batches = [random_inputs(session.graph, size, seed=0)[name] for size in sizes]
        loading_bytes = peak_bytes() - started_bytes
        loaded_bytes = restart_peak()
        for images in batches:
            session.run({name: images})
        running_bytes = peak_bytes() - loaded_bytes
        baseline = float_baseline(session.graph)
        for images in batches:
            own = measure(lambda x: session.run({name: x}), images, seconds)
            rows.append((own, None if baseline is None else measure(baseline, images, seconds)))
    if as_json:
        rows_json = [_as_json(own, other) for own, other in rows]
        memory = {"loading_bytes": loading_bytes, "running_bytes": running_bytes} if started_bytes else None
        emit_json({"threads": 1, "rows": rows_json, "peak_resident": memory})
    else:
        _show(rows)
        if started_bytes:
            say(f"memory at most: {running_bytes:,} bytes for runs and results, {loading_bytes:,} to load")


def float_baseline(graph: Any) -> Callable[[Any], Any] | None:  # noqa: ANN401 - NnGraph, imported late
    """Return the float network of the same shape, None without torch."""
    try:
        from bnncc.training.float_twin import float_twin
    except ImportError:
        warn("no torch here, so there is no float network to compare with: pip install 'bnncc[train]'")
        return None
    return float_twin(graph, threads=1)


def positive(text: str) -> int:
    """Return the batch size that ``text`` says.

    Raises:
        typer.BadParameter: it says none.
    """
    if not text.isdecimal() or not 0 < int(text) <= 1 << 20:
        raise typer.BadParameter(f"'{text}' is not a batch size", param_hint="--batch")
    return int(text)


def _as_json(own: Timing, other: Timing | None) -> dict[str, float | int | None]:
    return {
        "batch": own.batch,
        "c_us_per_image": round(own.us_per_image, 3),
        "c_best_us_per_image": round(own.best_us / own.batch, 3),
        "float_us_per_image": None if other is None else round(other.us_per_image, 3),
        "repetitions": own.repetitions,
    }


def _show(rows: list[tuple[Timing, Timing | None]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("batch", "C, us/image", "best", "float32 torch, us/image", "ratio", "repetitions"):
        table.add_column(title, justify="right")
    for own, other in rows:
        beside = ("-", "-")
        if other is not None:
            beside = (f"{other.us_per_image:.2f}", f"{other.us_per_image / own.us_per_image:.1f} x")
        best = f"{own.best_us / own.batch:.2f}"
        table.add_row(str(own.batch), f"{own.us_per_image:.2f}", best, *beside, str(own.repetitions))
    out().print(table)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    say(f"medians on one thread; calls from Python included; {os.cpu_count()} CPUs{load}")
