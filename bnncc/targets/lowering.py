"""From fused integer layers to the program of one target: layouts, kernels, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from bnncc.diagnostics import CompileError
from bnncc.ir.bit import BitGraph
from bnncc.ir.graph import Graph
from bnncc.ir.kernel import KernelGraph, KernelProgram
from bnncc.ir.verify import require_valid
from bnncc.ir.verify_kernel import verify_kernel
from bnncc.passes.lower_to_kernels import LowerToKernels
from bnncc.passes.pipeline import BIT_PASSES, layout_passes, run_pipeline
from bnncc.passes.plan_memory import PlanMemory
from bnncc.passes.tile_weights import TileWeights
from bnncc.targets.target import ArtifactT_co, Target

Observe: TypeAlias = Callable[[int, str, Graph[Any]], None]
"""Called with the step, the name of the pass and its result, of whatever level."""


def ignore(step: int, name: str, graph: Graph[Any]) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A network on the last two levels, for one target."""

    bit: BitGraph
    program: KernelProgram


def lower_for(graph: BitGraph, target: Target[ArtifactT_co], observe: Observe = ignore) -> Lowered:
    """Return the program of ``target`` for the network that `lower_network` made ``graph`` of.

    Raises:
        CompileError: the target cannot do something in it.
    """
    first = len(BIT_PASSES) + 1
    laid_out = run_pipeline(graph, layout_passes(target.storage), observe, first_step=first)
    if problems := target.check(laid_out):
        raise CompileError(problems)
    kernels = LowerToKernels(target.storage).run(laid_out)
    observe(first + len(layout_passes(target.storage)), LowerToKernels.name, kernels)
    return Lowered(bit=laid_out, program=planned(kernels, target))


def planned(kernels: KernelGraph, target: Target[ArtifactT_co]) -> KernelProgram:
    """Return the program of ``kernels``: every form of weights that ``target`` reads, and a place for all."""
    tiled = TileWeights(target.tiles(kernels)).run(kernels)
    require_valid(verify_kernel(tiled), TileWeights.name)
    return PlanMemory(target.storage.images_per_group).run(tiled)
