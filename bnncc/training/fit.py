"""The training loop, and the folder it leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnncc._files import write_atomically
from bnncc._version import __version__
from bnncc.data import Dataset, Split, split_off
from bnncc.data.dataset import Images
from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph
from bnncc.ir.train_spec import Selection, TrainSpec
from bnncc.training.checkpoint import graph_digest, load_state, load_weights, save_state, save_weights
from bnncc.training.curves import draw_curves
from bnncc.training.facts import layer_facts
from bnncc.training.feed import make_feed
from bnncc.training.float_graph import FloatMode
from bnncc.training.interrupt import stop_on_ctrl_c
from bnncc.training.machine import Precision, choose_device, choose_dtype, machine_settings
from bnncc.training.module import BnnModule, fit_images
from bnncc.training.optim import build_optimizer, trained
from bnncc.training.progress import EpochRecord, Observer, PlainLines, RunPlan, StepReport
from bnncc.training.run import (
    Parts,
    Position,
    averaged,
    flipped_fraction,
    require_finite,
    state_of,
    take_up,
    train_step,
)
from bnncc.training.vitals import sign_vitals, weight_vitals

_REPORT_SECONDS: Final = 0.2
_CHECK_STEPS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Where and on what a run is made; none of it, besides ``precision`` and ``threads``, changes its bits.

    Args:
        run_dir: made if missing; holds everything the run leaves.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: of torch on the CPU; None leaves torch's choice. Sums are in another order with another
            number, so only the same number gives the same bits.
        resume: continue the run in ``run_dir``.
        overwrite: replace the run in ``run_dir``.
        is_deterministic: ask torch for deterministic operations; on the CPU they are anyway.
        evaluate_every: epochs between two measurements on held-out images; the last is always measured.
        source: the text of the network's file, kept as ``model.bnn``.
    """

    run_dir: Path
    device: str = "cpu"
    threads: int | None = None
    precision: Precision = Precision.AUTO
    resume: bool = False
    overwrite: bool = False
    is_deterministic: bool = False
    evaluate_every: int = 1
    source: str | None = None


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

    ``options.run_dir`` then holds ``model.bnn``, ``config.json``, ``metrics.jsonl``, ``curves.png``,
    ``best.safetensors``, ``last.safetensors``, ``state.safetensors`` and ``state.json``. Weights files hold
    latent floats under the names of the graph; the compiler takes their signs.

    Raises:
        DataError: if the images do not fit the network, or files are broken or cannot be written.
        VerificationError: if training diverges.
        PlatformError: if the device is not there.
    """
    device = choose_device(options.device)
    folder = options.run_dir
    _require_free(folder, options)
    with machine_settings(
        device, threads=options.threads, is_deterministic=options.is_deterministic, seed=spec.seed
    ):
        parts = _make_parts(graph, spec, dataset, options, device)
        position = Position()
        if options.resume:
            position = take_up(parts, load_state(folder))
        _write_config(folder, parts, dataset, options)
        (observer or PlainLines()).started(_plan(parts, position, dataset))
        is_interrupted = _loop(parts, position, options, observer or PlainLines())
        best = folder / "best.safetensors"
        if not is_interrupted and spec.reestimate:
            parts.module.set_weights(load_weights(best))
            reestimate(parts)
            save_weights(best, parts.module.weights(), graph)
        if position.history:
            write_atomically(folder / "curves.png", draw_curves(position.history, graph.name))
        parts.module.set_weights(load_weights(best))
        test_accuracy = accuracy(parts.module, dataset.test)
    return FitResult(
        best_path=best,
        last_path=folder / "last.safetensors",
        history=tuple(position.history),
        test_accuracy=test_accuracy,
        is_interrupted=is_interrupted,
    )


def _require_free(folder: Path, options: FitOptions) -> None:
    has_run = (folder / "state.safetensors").exists()
    if options.resume and not has_run:
        raise DataError(f"There is no run to resume in '{folder}'.")
    if has_run and not (options.resume or options.overwrite):
        raise DataError(f"'{folder}' holds a run already: resume it, overwrite it, or name another folder.")


def _make_parts(
    graph: NnGraph, spec: TrainSpec, dataset: Dataset, options: FitOptions, device: torch.device
) -> Parts:
    _require_fit(graph, spec, dataset)
    train, watched, name = dataset.train, dataset.test, "test"
    if spec.validation:
        train, watched = split_off(dataset.train, spec.validation)
        name = "validation"
    generator = torch.Generator().manual_seed(spec.seed)
    module = BnnModule(graph, spec.weight_init, generator).to(device)
    dtype = choose_dtype(options.precision, graph, device)
    module.mode = FloatMode(dtype=dtype)
    parameters = trained(module, spec.rate_scale)
    feed = make_feed(
        train,
        batch=spec.batch,
        augment=spec.augment,
        input_shape=graph.inputs[0].type.shape,
        seed=spec.seed,
        device=device,
    )
    return Parts(
        module=module,
        optimizer=build_optimizer(spec.optimizer, parameters),
        trained=parameters,
        feed=feed,
        watched=watched,
        watched_name=name,
        generator=generator,
        device=device,
        spec=spec,
        identity=_identity(graph, spec, dataset, dtype),
        averages={item.name: item.parameter.detach().clone() for item in parameters} if spec.ema else {},
    )


def _identity(graph: NnGraph, spec: TrainSpec, dataset: Dataset, dtype: torch.dtype) -> dict[str, Any]:
    """Return what must be the same when a run is resumed."""
    return {
        "network": f"{graph.name} {graph_digest(graph)}",
        "recipe": repr(spec),
        "data": f"{dataset.name}, {len(dataset.train)} images",
        "precision": str(dtype).removeprefix("torch."),
    }


def _require_fit(graph: NnGraph, spec: TrainSpec, dataset: Dataset) -> None:
    fit_images(graph, dataset.train.images[:1])
    fit_images(graph, dataset.test.images[:1])
    scores = graph.outputs[0].value.type
    if len(scores.shape) != 1:
        raise DataError(
            f"The first output of '{graph.name}' is {scores}; training needs one score per class."
        )
    if scores.count < len(dataset.class_names):
        raise DataError(
            f"The network '{graph.name}' has {scores.count} scores, but '{dataset.name}' has "
            f"{len(dataset.class_names)} classes."
        )
    if spec.validation >= len(dataset.train) - 1:
        raise DataError(
            f"{spec.validation:,} validation images are asked for, but '{dataset.name}' has only "
            f"{len(dataset.train):,} training images."
        )
    if spec.select is Selection.BEST and not spec.validation:
        raise DataError("To keep the best epoch, the train block must set validation images aside.")


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
        device=str(parts.device),
        precision=parts.identity["precision"],
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
            batches = parts.feed.batches(position.epoch, parts.generator, first=position.step)
            for images, labels in batches:
                rate = train_step(parts, position, images, labels)
                if position.step % _CHECK_STEPS == 0:
                    require_finite(parts, position, check_parameters=False)
                if time.perf_counter() - reported > _REPORT_SECONDS:
                    reported = time.perf_counter()
                    observer.stepped(_report(parts, position))
                if asked.is_set():
                    break
            if position.step < parts.feed.steps:
                _write_unfinished(parts, position, options.run_dir)
                return True
            record = _finish_epoch(parts, position, options, rate, started)
            observer.finished_epoch(record)
            if asked.is_set() and position.epoch < parts.spec.epochs:
                return True
    return False


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
    steps = parts.feed.steps
    is_measured = (
        position.epoch + 1
    ) % options.evaluate_every == 0 or position.epoch + 1 == parts.spec.epochs
    record = EpochRecord(
        epoch=position.epoch + 1,
        loss=position.loss_sum.item() / steps,
        train_accuracy=position.hits.item() / (steps * parts.feed.batch),
        learning_rate=rate,
        accuracy=_watched_accuracy(parts) if is_measured else None,
        watched=parts.watched_name,
        flipped=flipped_fraction(parts, position),
        seconds=0.0,
        layers={**weight_vitals(parts, position), **sign_vitals(parts)},
    )
    record = replace(record, seconds=time.perf_counter() - started)
    position.history.append(record)
    position.epoch += 1
    position.step = 0
    _write_checkpoints(parts, position, options.run_dir)
    return record


def _watched_accuracy(parts: Parts) -> float:
    with averaged(parts):
        return accuracy(parts.module.eval(), parts.watched)


def _write_checkpoints(parts: Parts, position: Position, folder: Path) -> None:
    with averaged(parts):
        weights, graph = parts.module.weights(), parts.module.graph
    save_weights(folder / "last.safetensors", weights, graph)
    if _is_kept(parts.spec, position.history):
        position.best_epoch = position.epoch
        save_weights(folder / "best.safetensors", weights, graph)
    save_state(folder, state_of(parts, position))
    lines = "".join(json.dumps(asdict(record), sort_keys=True) + "\n" for record in position.history)
    write_atomically(folder / "metrics.jsonl", lines)


def _write_unfinished(parts: Parts, position: Position, folder: Path) -> None:
    """Write the state inside an epoch; its weights count only where no epoch is finished yet."""
    if not position.history:
        for name in ("last.safetensors", "best.safetensors"):
            save_weights(folder / name, parts.module.weights(), parts.module.graph)
    save_state(folder, state_of(parts, position))


def _is_kept(spec: TrainSpec, history: list[EpochRecord]) -> bool:
    """Return whether the newest epoch is the one to compile: the first best on validation, or the last."""
    if spec.select is Selection.LAST:
        return True
    newest = history[-1].accuracy
    earlier = [record.accuracy for record in history[:-1] if record.accuracy is not None]
    return newest is not None and newest > max(earlier, default=-1.0)


def reestimate(parts: Parts) -> None:
    """Average the statistics of every batch norm anew over batches of ``spec.reestimate`` training images."""
    wanted = -(-parts.spec.reestimate // parts.feed.batch)
    parts.module.train()
    batches = parts.feed.batches(parts.spec.epochs, parts.generator)
    for number, (images, _) in enumerate(batches, start=1):
        mode = FloatMode(momentum=1 / number, is_estimating=True)
        with parts.module.computing(mode), torch.no_grad():
            parts.module(images)
        if number == wanted:
            return


def accuracy(module: BnnModule, split: Split) -> float:
    """Return the fraction of images whose highest score, the first of equals, is that of their class."""
    scores = module.eval_scores(split.images)
    return float((scores.argmax(axis=1) == split.labels).mean())


def evaluate_torch(
    graph: NnGraph,
    weights: Mapping[str, npt.NDArray[Any]] | Mapping[str, Tensor],
    images: Images,
) -> npt.NDArray[np.float32]:
    """Return the scores of ``images``, computed by torch with the rules of inference.

    Shapes:
        images: ``[N, C, H, W]`` or ``[N, *shape of the input]`` u8. result: ``[N, classes]``.

    Raises:
        DataError: if weights are missing or of another shape, or the images do not fit.
    """
    module = BnnModule(graph)
    module.set_weights({name: torch.as_tensor(np.array(value)) for name, value in weights.items()})
    return module.eval_scores(images)


def _write_config(folder: Path, parts: Parts, dataset: Dataset, options: FitOptions) -> None:
    config = {
        "recipe": json.loads(json.dumps(asdict(parts.spec), default=lambda value: value.value)),
        "clauses": {
            name: type(getattr(parts.spec, name)).__name__ for name in ("loss", "optimizer", "schedule")
        }
        | {"augment": ", ".join(type(clause).__name__ for clause in parts.spec.augment)},
        "identity": dict(parts.identity),
        "data": {"name": dataset.name, "notes": list(dataset.notes), "test_images": len(dataset.test)},
        "layers": layer_facts(parts.module.graph),
        "device": str(parts.device),
        "threads": torch.get_num_threads(),
        "versions": {"bnncc": __version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    write_atomically(folder / "config.json", json.dumps(config, indent=1, sort_keys=True) + "\n")
    if options.source is not None:
        write_atomically(folder / "model.bnn", options.source)
