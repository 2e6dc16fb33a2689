"""``train``: a run folder, and the best weights where ``compile`` finds them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnncc.cli.options import (
    Data,
    DataDir,
    Define,
    Diagnostics,
    DiagnosticsFormat,
    Download,
    Json,
    Model,
    parse_overrides,
)
from bnncc.cli.talk import emit, emit_json, err, say
from bnncc.diagnostics import PlatformError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from bnncc.api import Trained
    from bnncc.training.progress import EpochRecord, Observer, RunPlan, StepReport

EXIT_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Train")(train)


class PresetName(StrEnum):
    """A recipe that replaces that of the ``train`` block."""

    THEANO = "paper-theano"
    TORCH7 = "paper-torch7"
    MODERN = "modern"


def train(  # noqa: PLR0913, PLR0917 - the options of the command
    model: Model,
    data: Data,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="The run folder; runs/NETWORK-N.")
    ] = None,
    preset: Annotated[PresetName | None, typer.Option(help="A recipe; else the train block's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images in one step.")] = None,
    lr: Annotated[float | None, typer.Option(help="The learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue the run in this folder.")
    ] = None,
    data_dir: DataDir = None,
    define: Define = None,
    *,
    download: Download = True,
    as_json: Json = False,
    diagnostics: Diagnostics = DiagnosticsFormat.TEXT,  # noqa: ARG001 - read by its callback
) -> None:
    """Train a network; Ctrl-C saves, and --resume goes on to the same bits."""
    from bnncc import api

    overrides = parse_overrides(define)
    loaded = api.load(model, **overrides)
    with watching() as observer:
        result = api.train(
            loaded,
            data,
            folder=output,
            resume=resume,
            preset=None if preset is None else preset.value,
            epochs=epochs,
            batch=batch,
            lr=lr,
            seed=seed,
            device=device,
            threads=threads,
            data_dir=data_dir,
            download=download,
            observer=observer,
        )
    flags = "".join(f" -D {name}={value}" for name, value in overrides.items())
    if result.is_interrupted:
        say(f"stopped and saved. To go on: the same command with --resume {result.folder}")
        raise typer.Exit(EXIT_INTERRUPTED)
    _show(result, as_json=as_json)
    say(f"next: bnncc compile {model}{flags}")


def _show(result: Trained, *, as_json: bool) -> None:
    if not as_json:
        emit(f"test accuracy {result.test_accuracy:.2%}  weights {result.best}")
        return
    emit_json(
        {
            "run": str(result.folder),
            "weights": str(result.best),
            "test_accuracy": result.test_accuracy,
            "epochs": len(result.history),
        }
    )


@contextmanager
def watching() -> Iterator[Observer]:
    """Give an observer: a bar on a terminal, else a line an epoch; both on stderr."""
    try:
        from bnncc.training.progress import PlainLines
    except ModuleNotFoundError as error:
        raise PlatformError(f"training needs '{error.name}': pip install 'bnncc[train]'") from error

    if not sys.stderr.isatty():
        yield PlainLines()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True) as progress:
        yield Bar(progress)


class Bar:
    """An observer that draws one bar over the whole run, and leaves a line an epoch above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps = 1
        self._task: TaskID | None = None

    def started(self, plan: RunPlan) -> None:
        """Draw the bar."""
        for note in plan.notes:
            self._progress.console.print(f"{plan.dataset}: {note}")
        self._steps = plan.steps_per_epoch
        self._task = self._progress.add_task(
            f"{plan.network} on {plan.dataset}",
            total=plan.epochs * self._steps,
            completed=(plan.first_epoch - 1) * self._steps,
            said="",
        )

    def stepped(self, report: StepReport) -> None:
        """Move the bar."""
        if self._task is not None:
            done = (report.epoch - 1) * self._steps + report.step
            said = f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}"
            self._progress.update(self._task, completed=done, said=said)

    def finished_epoch(self, record: EpochRecord) -> None:
        """Write the line of the epoch."""
        measured = "" if record.accuracy is None else f"  {record.watched} {record.accuracy:.2%}"
        self._progress.console.print(
            f"epoch {record.epoch:3d}  loss {record.loss:.4f}  train {record.train_accuracy:.2%}{measured}"
            f"  {record.seconds:.1f} s"
        )
        if self._task is not None:
            self._progress.update(self._task, completed=record.epoch * self._steps)
