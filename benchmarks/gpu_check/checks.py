"""Whether kernels are right: every tier on odd sizes, hostile inputs and poisoned memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from benchmarks.gpu_check.device import POISON, Bench
from benchmarks.gpu_check.driver import Array, Rows
from benchmarks.gpu_check.networks import NAMES, example
from bnncc.diagnostics import BnnccError
from bnncc.ir.kernel import IntegerLayer, KernelProgram, XnorLayer
from bnncc.ir.reference.program import run_program
from bnncc.runtime.cuda import CudaExecutable
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from tests.codegen.cuda.layer_groups import GROUPS
from tests.codegen.cuda.test_warpgroups import convolutions, dense_layers, odd_windows
from tests.cuda_programs import inputs_of

ODD_BATCHES: Final = (1, 7, 8, 9, 33, 70)
NETWORK_BATCHES: Final = (1, 9, 65)
HOSTILE_IMAGES: Final = 9
SMALL: Final = ("dense_stores", "conv_stores", "integer_conv", "signs_of_values")
COMPILERS: Final = 16
"""At the same time."""

Inputs = dict[str, Array]
Case = tuple[str, int, Inputs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A program in one form.

    Args:
        make: returns the program; asked when its turn comes.
    """

    name: str
    make: Callable[[], KernelProgram]
    target: CudaTarget
    batches: tuple[int, ...]

    @property
    def row(self) -> dict[str, Any]:
        """Return the columns that say what it is."""
        fuse = "" if self.target.fuse is Fuse.LAYER else f", {self.target.fuse.value}"
        return {"case": self.name, "kernels": f"{self.target.tier.value}{fuse}"}


def check_layers(bench: Bench) -> Rows:
    """Compare every group of layers in every tier, and whole in one kernel, with the reference."""
    yield from compared(bench, list(layer_subjects(bench, ODD_BATCHES)))


def check_networks(bench: Bench) -> Rows:
    """Compare whole networks in every tier, a launch a layer and in one kernel, with the reference."""
    subjects = [
        Subject(name=name, make=lambda name=name: example(name), target=target, batches=NETWORK_BATCHES)  # type: ignore[misc]  # a default that binds
        for name in NAMES
        for target in targets(bench.tiers)
    ]
    yield from compared(bench, subjects)


def check_small(bench: Bench) -> Rows:
    """Compare a few groups only; what the sanitizer can do in a minute."""
    few = [subject for subject in layer_subjects(bench, (3,)) if subject.name in SMALL]
    yield from compared(bench, few, has_hostile=False)


def targets(tiers: Sequence[Tier]) -> Iterator[CudaTarget]:
    """Yield every form: a launch a layer in each tier, and one kernel for the whole where there is one."""
    for tier in tiers:
        yield CudaTarget(tier=tier, fuse=Fuse.LAYER)
    for tier in (Tier.POPC, Tier.BMMA):
        if tier in tiers:
            yield CudaTarget(tier=tier, fuse=Fuse.PERSISTENT)


def layer_subjects(bench: Bench, batches: tuple[int, ...]) -> Iterator[Subject]:
    """Yield the groups of layers in every form; in fewer where no layer has a choice of tiers."""
    extra = (dense_layers, convolutions, odd_windows)
    makers = [*GROUPS, *((lambda make=make: make().program()) for make in extra)]  # type: ignore[misc]  # a default that binds
    names = [make.__name__ for make in (*GROUPS, *extra)]
    for name, make in zip(names, makers, strict=True):
        has_choice = any(isinstance(node, XnorLayer | IntegerLayer) for node in make().graph.nodes)
        for target in targets(bench.tiers if has_choice else (Tier.POPC,)):
            yield Subject(name=name, make=cache(make), target=target, batches=batches)


def compared(bench: Bench, subjects: Sequence[Subject], *, has_hostile: bool = True) -> Rows:
    """Yield one row a subject and case; all are compiled at once, then run in order."""
    with ThreadPoolExecutor(COMPILERS) as pool:
        compiled = [pool.submit(_compile, bench, subject) for subject in subjects]
        expected: dict[tuple[str, str, int], Inputs] = {}
        for subject, future in zip(subjects, compiled, strict=True):
            if refusal := future.result():
                yield {**subject.row, "images": 0, "result": refusal}
                continue
            program = subject.make()
            executable: CudaExecutable | None = None
            try:
                executable = bench.load(program, subject.target, poison=POISON)
                for kind, images, inputs in _cases(program, subject.batches, has_hostile=has_hostile):
                    key = (subject.name, kind, images)
                    if key not in expected:
                        expected[key] = run_program(program, inputs)
                    row = {**subject.row, "inputs": kind, "images": images}
                    yield {**row, "result": _difference(executable.run(inputs), expected[key])}
            except BnnccError as error:
                yield {**subject.row, "images": 0, "result": f"FAILED: {error}"}
            finally:
                if executable is not None:
                    executable.close()


def hostile_inputs(program: KernelProgram, images: int) -> Iterator[tuple[str, Inputs]]:
    """Yield inputs that random ones never are: everything equal, neighbours opposite."""
    plain = inputs_of(program, images)
    for kind in ("largest", "smallest", "alternating"):
        yield kind, {name: _filled(array, kind) for name, array in plain.items()}


def _filled(array: Array, kind: str) -> Array:
    low, high = (0, 255) if array.dtype == np.uint8 else (-1, 1)
    if kind == "alternating":
        return np.where(np.arange(array.size).reshape(array.shape) % 2 == 0, high, low).astype(array.dtype)
    return np.full_like(array, high if kind == "largest" else low)


def _cases(program: KernelProgram, batches: tuple[int, ...], *, has_hostile: bool) -> Iterator[Case]:
    for images in batches:
        yield "random", images, inputs_of(program, images, seed=images)
    if has_hostile:
        for kind, inputs in hostile_inputs(program, HOSTILE_IMAGES):
            yield kind, HOSTILE_IMAGES, inputs


def _compile(bench: Bench, subject: Subject) -> str:
    """Return nothing, or why it cannot be."""
    try:
        bench.compile(subject.make(), subject.target)
    except BnnccError as error:
        return f"FAILED: {error}"[:800]
    return ""


def _difference(found: Inputs, expected: Inputs) -> str:
    wrong = [
        f"{name} ({int(np.count_nonzero(array != expected[name]))} of {array.size})"
        for name, array in found.items()
        if not np.array_equal(array, expected[name])
    ]
    return f"FAILED: {', '.join(wrong)}" if wrong else "ok"
