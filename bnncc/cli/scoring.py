"""Scores of a data set on every backend, and the first place where two of them differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError, PlatformError, VerificationError

if TYPE_CHECKING:
    from bnncc.codegen.package import Package

Array: TypeAlias = npt.NDArray[Any]
Outputs: TypeAlias = dict[str, Array]

# Images between two reports of progress.
STEP = 100


class BackendName(StrEnum):
    """Where a network runs. ``emulator``: the generated CUDA, executed on the CPU."""

    TORCH = "torch"
    REF = "ref"
    C = "c"
    CUDA = "cuda"
    EMULATOR = "emulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a backend computed for a batch, and how long it took (without loading)."""

    backend: BackendName
    outputs: Mapping[str, Array]
    seconds: float


Progress: TypeAlias = Callable[[int], None]


def score(
    package: Package,
    backend: BackendName,
    inputs: Mapping[str, Array],
    *,
    trust: bool = False,
    progress: Progress = lambda _: None,
) -> Scored:
    """Return the outputs of ``package`` on ``backend``.

    Args:
        package: the network.
        backend: where it runs.
        inputs: one batch a network input.
        trust: see `bnncc.runtime.session.Session`.
        progress: told how many more images are done.
    """
    run, close = _open(package, backend, trust=trust)
    count = len(next(iter(inputs.values())))
    parts: list[Outputs] = []
    started = time.perf_counter()
    try:
        for start in range(0, max(count, 1), STEP):
            parts.append(run({name: array[start : start + STEP] for name, array in inputs.items()}))
            progress(min(STEP, count - start))
    finally:
        close()
    seconds = time.perf_counter() - started
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Scored(backend=backend, outputs=outputs, seconds=seconds)


def _open(
    package: Package, backend: BackendName, *, trust: bool
) -> tuple[Callable[[Mapping[str, Array]], Outputs], Callable[[], None]]:
    if backend is not BackendName.TORCH:
        from bnncc.runtime.session import Session

        session = Session(package, backend.value, trust=trust)
        return session.run, session.close
    try:
        from bnncc.training.module import BnnModule
    except ImportError as error:
        raise PlatformError("the backend 'torch' needs torch: pip install 'bnncc[train]'") from error
    from bnncc.runtime.contents import graph_of

    graph = graph_of(package)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise DataError("the backend 'torch' takes networks with one input and one output")
    module = BnnModule(graph).eval()
    given, named = graph.inputs[0].name, graph.outputs[0].name
    return (lambda inputs: {named: module.eval_scores(inputs[given])}), (lambda: None)


def available(package: Package) -> tuple[tuple[BackendName, ...], dict[BackendName, str]]:
    """Return the backends that work here, and why the others do not."""
    good: list[BackendName] = []
    lacking: dict[BackendName, str] = {}
    for backend in BackendName:
        try:
            _open(package, backend, trust=False)[1]()
        except (PlatformError, DataError) as error:
            lacking[backend] = str(error)
        else:
            good.append(backend)
    return tuple(good), lacking


def allowed_difference(package: Package, backend: BackendName) -> float:
    """Return how far ``backend`` may be from the reference, relative to the largest score; 0: not at all.

    Sums of floats depend on their order. Generated code adds in the order of the reference, torch in its own.
    """
    if backend is not BackendName.TORCH:
        return 0.0
    from bnncc.analysis.exactness import tolerance
    from bnncc.passes.pipeline import lower_network
    from bnncc.runtime.contents import graph_of

    return tolerance(lower_network(graph_of(package)))


def require_equal(left: Scored, right: Scored, allowed: float = 0.0) -> None:
    """Check that two backends computed the same bits, or differ by no more than ``allowed``.

    Raises:
        VerificationError: they did not; names the first image and value.
    """
    for name, expected in left.outputs.items():
        found = right.outputs[name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise VerificationError(
                f"{left.backend} and {right.backend} differ: output '{name}' is {expected.dtype}"
                f"{list(expected.shape)} and {found.dtype}{list(found.shape)}"
            )
        differs = _differs(expected, found, allowed)
        if differs.any():
            first = tuple(int(axis) for axis in np.argwhere(differs)[0])
            images = int(differs.reshape(len(differs), -1).any(axis=1).sum())
            raise VerificationError(
                f"{left.backend} and {right.backend} differ: output '{name}', image {first[0]}, "
                f"position {list(first[1:])}: {expected[first]!r} and {found[first]!r} "
                f"({images} of {len(differs)} images differ)"
            )


def _differs(expected: Array, found: Array, allowed: float) -> npt.NDArray[np.bool_]:
    if not allowed or not expected.size:
        return np.asarray(expected != found)
    distance = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    # Not 'distance > bound': a NaN is a difference.
    return ~np.asarray(distance <= allowed * max(1.0, float(np.abs(expected).max())))


def accuracy(scores: Array, labels: npt.NDArray[np.int64]) -> float:
    """Return the share of images whose highest score is that of their class; the lowest class wins a tie."""
    if len(labels) == 0:
        return 0.0
    return float(np.mean(np.argmax(scores.reshape(len(scores), -1), axis=1) == labels))
