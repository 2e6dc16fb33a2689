"""Watching a compilation: dumps, times, early stop, and the reference run after every pass."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import typer

from bnncc.diagnostics import VerificationError
from bnncc.ir import bit, kernel, nn
from bnncc.ir.graph import Graph
from bnncc.ir.reference import evaluate_bit, evaluate_nn
from bnncc.ir.reference.program import run_program
from bnncc.ir.text import print_graph
from bnncc.passes.assign_layouts import AssignLayouts
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.lower_to_bits import LowerToBits
from bnncc.passes.lower_to_kernels import LowerToKernels
from bnncc.passes.pipeline import BIT_PASSES
from bnncc.passes.plan_memory import PlanMemory
from bnncc.runtime.random_inputs import random_inputs

VERIFY_IMAGES: Final = 8
ELABORATE: Final = "elaborate"
# Valid for every layout: a batch rounded up to this many images is whole groups of each of them.
_IMAGES_PER_GROUP: Final = 8


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """The pass that the user named has run."""


def pass_descriptions() -> dict[str, str]:
    """Return what each pass does, by name, in the order they run."""
    stages: tuple[Any, ...] = (BindWeights, LowerToBits, *BIT_PASSES, AssignLayouts, LowerToKernels)
    return {ELABORATE: "Read the source; resolve names, blocks and types."} | {
        stage.name: (inspect.getdoc(stage) or "").splitlines()[0] for stage in stages
    }


@dataclass(slots=True, kw_only=True)
class Watcher:
    """An observer of the pipeline.

    Args:
        emit: writes a dump.
        print_after: print the IR after the pass of this name.
        print_all: print it after every pass.
        stop_after: raise `Stopped` after the pass of this name.
        is_verifying: compare every graph with the bound network on sampled inputs.
        times: seconds of each pass, filled as they run.
    """

    emit: Callable[[str], None]
    print_after: str | None = None
    print_all: bool = False
    stop_after: str | None = None
    is_verifying: bool = False
    times: list[tuple[str, float]] = field(default_factory=list)
    _clock: float = field(default_factory=time.perf_counter)
    _inputs: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    _expected: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = pass_descriptions()
        for option, name in (("--print-ir-after", self.print_after), ("--stop-after", self.stop_after)):
            if name is not None and name not in known:
                raise typer.BadParameter(
                    f"there is no pass '{name}'; 'bnncc passes' lists them", param_hint=option
                )

    def __call__(self, step: int, name: str, graph: Graph[Any]) -> None:
        """See the result of a pass."""
        self.times.append((name, time.perf_counter() - self._clock))
        if self.print_all or name == self.print_after:
            self.emit(f"# {step:03d}.{name}\n{print_graph(graph)}")
        if self.is_verifying:
            self._verify(name, graph)
        if name == self.stop_after:
            raise Stopped
        self._clock = time.perf_counter()

    def _verify(self, name: str, graph: Graph[Any]) -> None:
        if name == ELABORATE:
            return
        if name == BindWeights.name:
            self._inputs = random_inputs(graph, VERIFY_IMAGES, seed=0)
        found = _evaluate(name, graph, self._inputs)
        if name == BindWeights.name:
            self._expected = found
        for output, expected in self._expected.items():
            differs = np.argwhere(expected != found[output])
            if len(differs):
                place = tuple(int(axis) for axis in differs[0])
                before, after = expected[place], found[output][place]
                raise VerificationError(
                    f"the pass '{name}' changed the meaning of the network: output '{output}', "
                    f"image {place[0]}, position {list(place[1:])} was {before!r} and is {after!r}. "
                    "Please report this fault with the network."
                )


def _evaluate(
    name: str, graph: Graph[Any], inputs: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    if name == BindWeights.name:
        return evaluate_nn(cast("nn.NnGraph", graph), inputs)
    if name == LowerToKernels.name:
        return run_program(PlanMemory(_IMAGES_PER_GROUP).run(cast("kernel.KernelGraph", graph)), inputs)
    return evaluate_bit(cast("bit.BitGraph", graph), inputs)
