"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from torch import Tensor

from bnncc._files import write_atomically
from bnncc.data import Dataset
from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph
from bnncc.ir.train_spec import TrainSpec
from bnncc.training.checkpoint import RunState, load_state, load_weights, save_weights
from bnncc.training.curves import draw_curves
from bnncc.training.folder import is_kept, write_checkpoints, write_config, write_unfinished
from bnncc.training.interrupt import stop_on_ctrl_c
from bnncc.training.judge import accuracy, reestimate, watched_accuracy
from bnncc.training.machine import Precision, choose_device, choose_threads, machine_settings
from bnncc.training.parts import Beginning, Teacher, make_parts
from bnncc.training.progress import EpochRecord, Observer, PlainLines, RunPlan, Silence, StepReport
from bnncc.training.run import (
    Parts,
    Position,
    epoch_sums,
    flipped_fraction,
    require_finite,
    take_up,
    train_step,
)
from bnncc.training.team import Team, team_of
from bnncc.training.vitals import sign_vitals, weight_vitals

_REPORT_SECONDS: Final = 0.2
_CHECK_STEPS: Final = 50
_AGREE_STEPS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Where and on what a run is made, and what it begins from.

    Args:
        run_dir: made if missing; holds everything the run leaves.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: of torch on the CPU; None takes those of a resumed run, else `choose_threads`. Sums are in
            another order with another number, so only the same number gives the same bits.
        resume: continue the run in ``run_dir``.
        overwrite: replace the run in ``run_dir``.
        is_deterministic: ask torch for deterministic operations; on the CPU they are anyway.
        evaluate_every: epochs between two measurements on held-out images; the last is always measured.
        checkpoint_steps: steps between two checkpoints inside an epoch; None: only after epochs.
        source: the text of the network's file, kept as ``model.bnn``.
        define: the network parameters set from outside.
        weights: parameters to start from, by name; latent ones are scaled to fill [-1, 1].
        teacher: whom to imitate, as ``distill`` of the recipe says; without one that line does nothing.
    """

    run_dir: Path
    device: str = "cpu"
    threads: int | None = None
    precision: Precision = Precision.AUTO
    resume: bool = False
    overwrite: bool = False
    is_deterministic: bool = False
    evaluate_every: int = 1
    checkpoint_steps: int | None = None
    source: str | None = None
    define: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Tensor] | None = None
    teacher: Teacher | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a run has come to.

    Args:
        best_path: the weights to compile: of the epoch that `Selection` names, with statistics averaged anew
            where the recipe asks for it.
        last_path: the weights as the last epoch left them.
        test_accuracy: of the network of inference with the weights of ``best_path`` on all test images.
        is_interrupted: whether Ctrl-C ended it early.
    """

    best_path: Path
    last_path: Path
    history: tuple[EpochRecord, ...]
    test_accuracy: float
    is_interrupted: bool


def fit(
    graph: NnGraph,
    spec: TrainSpec,
    dataset: Dataset,
    options: FitOptions,
    observer: Observer | None = None,
) -> FitResult:
    """Return the result of training ``graph`` on ``dataset`` as ``spec`` says.

    ``options.run_dir`` then holds ``model.bnn``, ``config.json``, ``metrics.jsonl``, ``metrics.csv``,
    ``curves.png``, ``best.safetensors``, ``last.safetensors``, ``state.safetensors`` and ``state.json``.
    Weights files hold latent floats under the names of the graph; the compiler takes their signs.

    Processes that torchrun started train together; only the first writes and tells the observer, and all
    return the same result.

    Raises:
        DataError: if the images do not fit the network, or files are broken or cannot be written.
        VerificationError: if training diverges.
        PlatformError: if the device is not there, or another process of the run has failed.
    """
    with team_of(choose_device(options.device)) as team:
        folder = Path(team.from_first(str(options.run_dir)))
        _require_free(folder, options)
        team.from_first("looked")  # before the first process writes
        state = load_state(folder) if options.resume else None
        with machine_settings(
            team.device,
            threads=_threads(options, state),
            is_deterministic=options.is_deterministic,
            # What is drawn for its own images, dropout and random signs, differs between processes.
            seed=spec.seed + team.rank,
        ):
            beginning = Beginning(
                precision=options.precision, weights=options.weights, teacher=options.teacher
            )
            parts = make_parts(graph, spec, dataset, team, beginning)
            position = Position() if state is None else take_up(parts, state)
            listener = (observer or PlainLines()) if team.is_first else Silence()
            return _run(parts, position, dataset, replace(options, run_dir=folder), listener)


def _threads(options: FitOptions, state: RunState | None) -> int:
    if options.threads is not None:
        return options.threads
    return choose_threads() if state is None else int(state.facts["threads"])


def _run(
    parts: Parts, position: Position, dataset: Dataset, options: FitOptions, observer: Observer
) -> FitResult:
    """Train from ``position`` to the end, or until Ctrl-C, and measure what is kept."""
    folder, team = options.run_dir, parts.team
    if team.is_first:
        write_config(folder, parts, dataset, source=options.source, define=dict(options.define))
    observer.started(_plan(parts, position, dataset))
    is_interrupted = _loop(parts, position, options, observer)
    best = folder / "best.safetensors"
    team.from_first("written")
    parts.module.set_weights(load_weights(best))
    if not is_interrupted and parts.spec.reestimate:
        reestimate(parts)
        if team.is_first:
            save_weights(best, parts.module.weights(), parts.module.graph)
    if position.history and team.is_first:
        write_atomically(folder / "curves.png", draw_curves(position.history, parts.module.graph.name))
    return FitResult(
        best_path=best,
        last_path=folder / "last.safetensors",
        history=tuple(position.history),
        test_accuracy=accuracy(parts.module, dataset.test, team),
        is_interrupted=is_interrupted,
    )


def _require_free(folder: Path, options: FitOptions) -> None:
    has_run = (folder / "state.safetensors").exists()
    if options.resume and not has_run:
        raise DataError(f"There is no run to resume in '{folder}'.")
    if has_run and not (options.resume or options.overwrite):
        raise DataError(f"'{folder}' holds a run already: resume it, overwrite it, or name another folder.")


def _plan(parts: Parts, position: Position, dataset: Dataset) -> RunPlan:
    return RunPlan(
        network=parts.module.graph.name,
        dataset=dataset.name,
        notes=dataset.notes,
        train_images=len(parts.feed.labels),
        watched_images=len(parts.watched),
        watched=parts.watched_name,
        epochs=parts.spec.epochs,
        steps_per_epoch=parts.feed.steps,
        first_epoch=position.epoch + 1,
        device=str(parts.team.device),
        precision=parts.identity["precision"],
        processes=parts.team.size,
    )


def _loop(parts: Parts, position: Position, options: FitOptions, observer: Observer) -> bool:
    """Train up to the last epoch, or until Ctrl-C; return whether it was Ctrl-C."""
    with stop_on_ctrl_c() as asked:
        while position.epoch < parts.spec.epochs:
            started = time.perf_counter()
            if position.step == 0:
                position.begin_epoch(parts)
            rate = reported = 0.0
            parts.module.train()
            for batch in parts.feed.batches(position.epoch, parts.generator, first=position.step):
                rate = train_step(parts, position, batch)
                _keep_safe(parts, position, options)
                if time.perf_counter() - reported > _REPORT_SECONDS:
                    reported = time.perf_counter()
                    observer.stepped(_report(parts, position))
                if _is_stopped(parts.team, position, is_asked=asked.is_set()):
                    break
            if position.step < parts.feed.steps:
                write_unfinished(parts, position, options.run_dir)
                return True
            record = _finish_epoch(parts, position, options, rate, started)
            observer.finished_epoch(record)
            if parts.team.is_true_somewhere(asked.is_set()) and position.epoch < parts.spec.epochs:
                return True
    return False


def _keep_safe(parts: Parts, position: Position, options: FitOptions) -> None:
    """Look after a run inside its epoch: stop it if it has diverged, and write checkpoints."""
    if position.step % _CHECK_STEPS == 0:
        require_finite(parts, position, check_parameters=False)
    wanted = options.checkpoint_steps
    if wanted and position.step % wanted == 0 and position.step < parts.feed.steps:
        require_finite(parts, position, check_parameters=True)
        write_unfinished(parts, position, options.run_dir)


def _is_stopped(team: Team, position: Position, *, is_asked: bool) -> bool:
    """Return whether to stop after this step: all processes have to stop after the same."""
    if team.size == 1:
        return is_asked
    return position.step % _AGREE_STEPS == 0 and team.is_true_somewhere(is_asked)


def _report(parts: Parts, position: Position) -> StepReport:
    return StepReport(
        epoch=position.epoch + 1,
        epochs=parts.spec.epochs,
        step=position.step,
        steps=parts.feed.steps,
        loss=position.loss_sum.item() / position.step,
    )


def _finish_epoch(
    parts: Parts, position: Position, options: FitOptions, rate: float, started: float
) -> EpochRecord:
    """Measure the epoch that just ended, write its checkpoints and return its record."""
    require_finite(parts, position, check_parameters=True)
    steps, (loss, hits) = parts.feed.steps, epoch_sums(parts, position)
    number = position.epoch + 1
    is_measured = number % options.evaluate_every == 0 or number == parts.spec.epochs
    record = EpochRecord(
        epoch=number,
        loss=loss / steps,
        train_accuracy=hits / (steps * parts.feed.batch),
        learning_rate=rate,
        accuracy=watched_accuracy(parts) if is_measured else None,
        watched=parts.watched_name,
        flipped=flipped_fraction(parts, position),
        seconds=0.0,
        layers={**weight_vitals(parts, position), **sign_vitals(parts)},
    )
    record = replace(record, seconds=time.perf_counter() - started)
    position.history.append(record)
    position.epoch, position.step = number, 0
    if is_kept(parts.spec, position.history):
        position.best_epoch = number
    write_checkpoints(parts, position, options.run_dir)
    return record
