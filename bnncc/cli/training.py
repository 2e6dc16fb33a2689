"""``train``: a run folder, and the best weights where ``compile`` finds them."""

from __future__ import annotations

import os
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
    from bnncc.training.find_rate import RateSearch
    from bnncc.training.progress import EpochRecord, Observer, RunPlan, StepReport

EXIT_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Train")(train)


class PresetName(StrEnum):
    """A recipe that replaces that of the ``train`` block."""

    THEANO = "paper-theano"
    TORCH7 = "paper-torch7"
    BINARYCONNECT = "binaryconnect"
    MODERN = "modern"


class PrecisionName(StrEnum):
    """The type of the operands of binary products in training."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


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
    precision: Annotated[
        PrecisionName, typer.Option(help="Operands of binary products in training; auto where it is fast.")
    ] = PrecisionName.AUTO,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue the run in this folder.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="FILE|RUN", help="Weights to start from, as after a first stage.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Whom 'distill' of the train block imitates.")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, metavar="STEPS", help="Also save inside epochs.")
    ] = None,
    data_dir: DataDir = None,
    define: Define = None,
    *,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Ask torch for deterministic operations on a GPU too.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files into RUN/tensorboard.")
    ] = False,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Do not train: look for a learning rate, and say it.")
    ] = False,
    download: Download = True,
    as_json: Json = False,
    diagnostics: Diagnostics = DiagnosticsFormat.TEXT,  # noqa: ARG001 - read by its callback
) -> None:
    """Train a network; Ctrl-C saves, and --resume goes on to the same bits."""
    # OpenMP reads it when torch is loaded. Threads that spin while they wait make a loaded machine crawl.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bnncc import api

    overrides = parse_overrides(define)
    loaded = api.load(model, **overrides)
    keywords = api.TrainKeywords(
        folder=output,
        resume=resume,
        init=init,
        teacher=teacher,
        preset=None if preset is None else preset.value,
        epochs=epochs,
        batch=batch,
        lr=lr,
        seed=seed,
        device=device,
        threads=threads,
        precision=precision.value,
        deterministic=deterministic,
        checkpoint_steps=checkpoint_every,
        tensorboard=tensorboard,
        data_dir=data_dir,
        download=download,
    )
    if find_lr:
        _show_rates(api.find_rate(loaded, data, **keywords), as_json=as_json)
        return
    with watching() as observer:
        keywords["observer"] = observer
        result = api.train(loaded, data, **keywords)
    if os.environ.get("RANK", "0") != "0":
        return
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


def _show_rates(found: RateSearch, *, as_json: bool) -> None:
    if as_json:
        emit_json({"rates": found.rates, "losses": found.losses, "suggested": found.suggested})
        return
    highest = max(found.losses)
    for rate, loss in list(zip(found.rates, found.losses, strict=True))[::8]:
        emit(f"{rate:9.2e}  {loss:8.4f}  {'#' * round(50 * loss / highest)}")
    emit(f"suggested: --lr {found.suggested:g}")


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
