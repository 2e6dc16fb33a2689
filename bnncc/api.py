"""The Python API: load, train, compile; what the command line does, as functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, Unpack

import numpy.typing as npt

from bnncc._files import read_bytes
from bnncc.codegen.package import Package
from bnncc.diagnostics import DataError, PlatformError
from bnncc.driver import TARGETS, CompileOptions, compile_elaborated, load_model
from bnncc.frontend.load import Elaborated
from bnncc.ir.nn import NnGraph
from bnncc.ir.train_spec import Clause, TrainSpec, bounds
from bnncc.runs import new_run, remember_run
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier

if TYPE_CHECKING:
    from bnncc.analysis.summary import Summary
    from bnncc.data import Dataset
    from bnncc.training.find_rate import RateSearch
    from bnncc.training.fit import FitOptions
    from bnncc.training.progress import EpochRecord, Observer

NumberT = TypeVar("NumberT", int, float)
WordT = TypeVar("WordT", bound=StrEnum)
WeightsLike: TypeAlias = "Path | str | Mapping[str, npt.NDArray[Any]] | Trained | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network read from a ``.bnn`` file, its parameters set.

    Args:
        path: of the file.
        overrides: parameters set by the caller.
    """

    path: Path
    overrides: Mapping[str, str]
    elaborated: Elaborated

    @property
    def graph(self) -> NnGraph:
        """Return the network as its author wrote it."""
        return self.elaborated.graph

    @property
    def recipe(self) -> TrainSpec:
        """Return what the ``train`` block says."""
        return self.elaborated.train

    def summary(self) -> Summary:
        """Return shapes, parameters, memory and operations of every layer; ``print`` shows a table."""
        from bnncc.analysis.summary import summarize

        return summarize(self.graph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training run has come to.

    Args:
        folder: of the run.
        best: the weights to compile.
        test_accuracy: of the network of inference on all test images, from 0 to 1.
        history: one record an epoch.
        is_interrupted: whether Ctrl-C ended it early.
    """

    folder: Path
    best: Path
    test_accuracy: float
    history: tuple[EpochRecord, ...]
    is_interrupted: bool


class TrainKeywords(TypedDict, total=False):
    """What `train` takes besides the network and the data.

    ``epochs``, ``batch``, ``lr``, ``seed`` replace those of the train block or of the preset; ``preset``
    (``paper-theano``, ``paper-torch7``, ``binaryconnect``, ``modern``) the whole recipe. ``resume`` is the
    folder of a run to go on with; ``init`` weights, or a run, to start from; ``teacher`` the run that
    ``distill`` imitates. ``precision`` is ``auto``, ``float32`` or ``bfloat16``; ``checkpoint_steps`` the
    steps between two checkpoints inside an epoch.
    """

    folder: Path | str | None
    resume: Path | str | None
    preset: str | None
    epochs: int | None
    batch: int | None
    lr: float | None
    seed: int | None
    init: Path | str | None
    teacher: Path | str | None
    device: str
    threads: int | None
    precision: str
    deterministic: bool
    checkpoint_steps: int | None
    tensorboard: bool
    data_dir: Path | str | None
    download: bool
    observer: Observer | None


class CompileKeywords(TypedDict, total=False):
    """What `compile` takes besides the network and its weights.

    ``target`` is ``"cuda,c"`` or ``("cuda", "c")``; ``arch`` names GPU architectures (``"sm_80,sm_90a"``);
    ``march`` the CPU of the C (``native``), ``cc`` its compiler; ``tier`` how binary layers multiply on GPUs
    (``auto``, ``popc``, ``bmma``); ``fuse`` what a launch is there (``auto``, ``layer``, ``persistent``);
    ``tuned`` is whether measurements of ``bnncc tune`` count; ``seed`` draws random weights on purpose.
    """

    target: str | tuple[str, ...]
    arch: str | tuple[str, ...] | None
    march: str
    cc: str | None
    tier: str
    fuse: str
    tuned: bool
    seed: int | None


def load(path: Path | str, **params: int | float | str | Fraction) -> Model:
    """Return the network in the file ``path``, its parameters set to ``params``.

    Example:
        >>> model = load("examples/digits.bnn", hidden=64)  # doctest: +SKIP
        >>> print(model.summary())  # doctest: +SKIP

    Raises:
        CompileError: with every error of the file.
        DataError: the file cannot be read.
    """
    overrides = {name: str(value) for name, value in params.items()}
    return Model(path=Path(path), overrides=overrides, elaborated=load_model(Path(path), overrides))


def train(model: Model | Path | str, data: str, **options: Unpack[TrainKeywords]) -> Trained:
    """Return the result of training ``model`` on the data set ``data``; the run folder holds everything.

    Example:
        >>> result = train("examples/digits.bnn", "digits", epochs=2)  # doctest: +SKIP
        >>> package = compile("examples/digits.bnn", result)  # doctest: +SKIP

    Raises:
        DataError: data set or run cannot be read, or the images do not fit the network.
        PlatformError: torch or the device is missing.
    """
    try:
        from bnncc.training.fit import fit
        from bnncc.training.progress import PlainLines
        from bnncc.training.team import is_first_process
        from bnncc.training.tensorboard import TensorBoard
    except ModuleNotFoundError as error:
        raise PlatformError(f"training needs '{error.name}': pip install 'bnncc[train]'") from error
    loaded = model if isinstance(model, Model) else load(model)
    chosen = _fit_options(loaded, options)
    observer = options.get("observer") or PlainLines()
    if options.get("tensorboard") and is_first_process():
        observer = TensorBoard(chosen.run_dir, observer)
    result = fit(loaded.graph, _recipe(loaded, data, options), _dataset(data, options), chosen, observer)
    if is_first_process():
        remember_run(loaded.graph.name, result.best_path, loaded.overrides)
    return Trained(
        folder=result.best_path.parent,
        best=result.best_path,
        test_accuracy=result.test_accuracy,
        history=result.history,
        is_interrupted=result.is_interrupted,
    )


def find_rate(model: Model | Path | str, data: str, **options: Unpack[TrainKeywords]) -> RateSearch:
    """Return the losses of a short run whose learning rate rises, and the rate that they suggest.

    Example:
        >>> find_rate("examples/digits.bnn", "digits").suggested  # doctest: +SKIP

    Raises:
        DataError: data set cannot be read, or the images do not fit the network.
        PlatformError: torch or the device is missing.
    """
    try:
        from bnncc.training.find_rate import SearchOptions
        from bnncc.training.find_rate import find_rate as search
    except ModuleNotFoundError as error:
        raise PlatformError(f"training needs '{error.name}': pip install 'bnncc[train]'") from error
    loaded = model if isinstance(model, Model) else load(model)
    where = SearchOptions(device=options.get("device", "auto"), threads=options.get("threads"))
    return search(loaded.graph, _recipe(loaded, data, options), _dataset(data, options), where)


def _dataset(data: str, options: TrainKeywords) -> Dataset:
    from bnncc.data.load import load_dataset

    given = options.get("data_dir")
    return load_dataset(data, None if given is None else Path(given), download=options.get("download", True))


def _fit_options(model: Model, options: TrainKeywords) -> FitOptions:
    from bnncc.training.earlier import read_teacher, read_weights
    from bnncc.training.fit import FitOptions
    from bnncc.training.machine import Precision

    resumed, init, teacher = options.get("resume"), options.get("init"), options.get("teacher")
    known = [item.value for item in Precision]
    if (precision := options.get("precision", "auto")) not in known:
        raise DataError(f"there is no precision '{precision}'; choose from {', '.join(known)}")
    return FitOptions(
        run_dir=Path(resumed or options.get("folder") or new_run(model.graph.name)),
        device=options.get("device", "auto"),
        threads=options.get("threads"),
        precision=Precision(precision),
        resume=resumed is not None,
        is_deterministic=options.get("deterministic", False),
        checkpoint_steps=options.get("checkpoint_steps"),
        source=read_bytes(model.path, "network").decode(errors="replace"),
        define=model.overrides,
        weights=None if init is None else read_weights(Path(init)),
        teacher=None if teacher is None else read_teacher(Path(teacher), model.path),
    )


def compile(  # noqa: A001 - the API's verb; nobody imports it without the module's name
    model: Model | Path | str, weights: WeightsLike = None, **options: Unpack[CompileKeywords]
) -> Package:
    """Return ``model`` compiled with ``weights``, as a package.

    Without ``weights`` the last training run's are taken, else ``model.safetensors`` beside the source, else
    random ones (`Package.manifest` tells).

    Example:
        >>> package = compile("examples/digits.bnn", target=("c",), seed=0)  # doctest: +SKIP
        >>> package.save("digits.bnnpkg")  # doctest: +SKIP

    Raises:
        CompileError: with every error of the network, or of weights that do not fit it.
        DataError: an option has a value that it cannot have.
    """
    loaded = model if isinstance(model, Model) else load(model)
    given = weights.best if isinstance(weights, Trained) else weights
    chosen = CompileOptions(
        overrides=loaded.overrides,
        weights=Path(given) if isinstance(given, str) else given,
        random_seed=options.get("seed"),
        targets=_names(options.get("target", TARGETS)),
        archs=_names(options.get("arch") or ()) or None,
        march=options.get("march", "native"),
        cc=options.get("cc"),
        tier=_word(Tier, "tier", options.get("tier", "auto")),
        fuse=_word(Fuse, "fuse", options.get("fuse", "auto")),
        tuned=options.get("tuned", True),
    )
    return compile_elaborated(loaded.elaborated, loaded.path, chosen)


def _word(kind: type[WordT], option: str, word: str) -> WordT:
    if word not in tuple(kind):
        raise DataError(f"there is no {option} '{word}'; choose from {', '.join(kind)}")
    return kind(word)


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip() for part in parts if part.strip())


def _recipe(model: Model, data: str, options: TrainKeywords) -> TrainSpec:
    """Return the train block with the caller's changes; each is checked as the language checks it."""
    spec = model.recipe
    if (preset := options.get("preset")) is not None:
        from bnncc.training.recipe import PRESETS

        if preset not in PRESETS:
            raise DataError(f"there is no preset '{preset}'; choose from {', '.join(PRESETS)}")
        spec = PRESETS[preset](spec, data)
    if (epochs := options.get("epochs")) is not None:
        spec = replace(spec, epochs=_allowed(TrainSpec, "epochs", epochs))
    if (batch := options.get("batch")) is not None:
        spec = replace(spec, batch=_allowed(TrainSpec, "batch", batch))
    if (seed := options.get("seed")) is not None:
        spec = replace(spec, seed=_allowed(TrainSpec, "seed", seed))
    if (lr := options.get("lr")) is not None:
        rate = _allowed(type(spec.optimizer), "lr", lr)
        spec = replace(spec, optimizer=replace(spec.optimizer, lr=rate))
    return spec


def _allowed(clause: type[Clause], name: str, value: NumberT) -> NumberT:
    """Return ``value`` if the language would take it for the setting ``name``."""
    allowed = bounds(clause, name)
    if allowed is not None and not allowed.allow(value):
        raise DataError(f"'{name}' is {value:g}; it has to be {allowed}")
    return value
