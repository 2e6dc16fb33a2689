"""The only list of passes, in order, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, TypeVar

from bnncc.ir.bit import BitGraph
from bnncc.ir.kernel import StorageForm
from bnncc.ir.nn import NnGraph
from bnncc.ir.verify import require_valid, verify_bit, verify_lowered, verify_nn
from bnncc.passes.absorb_flatten import AbsorbFlatten
from bnncc.passes.absorb_flips import AbsorbFlips
from bnncc.passes.assign_layouts import AssignLayouts
from bnncc.passes.check_ranges import CheckRanges
from bnncc.passes.commute_pool import CommutePool
from bnncc.passes.commute_sign import CommuteSign
from bnncc.passes.eliminate_common import EliminateCommon
from bnncc.passes.eliminate_dead import EliminateDead
from bnncc.passes.fold_affine import FoldAffine
from bnncc.passes.fold_batch_norm import FoldBatchNorm
from bnncc.passes.fold_border import FoldBorder
from bnncc.passes.fuse_layers import FuseLayers
from bnncc.passes.lower_first_layer import LowerFirstLayer
from bnncc.passes.lower_padding import LowerPadding
from bnncc.passes.lower_scores import LowerScores
from bnncc.passes.lower_to_bits import LowerToBits
from bnncc.passes.protocol import Pass
from bnncc.passes.sink_flatten import SinkFlatten
from bnncc.passes.sink_rescale import SinkRescale

GraphT = TypeVar("GraphT")
BitPass: TypeAlias = Pass[BitGraph, BitGraph]
Observer: TypeAlias = Callable[[int, str, NnGraph | BitGraph], None]
"""Called with the step, the name of the pass and its result: for dumps and timing."""

BIT_PASSES: Final[tuple[BitPass, ...]] = (
    EliminateDead(),
    SinkRescale(),
    LowerFirstLayer(),
    SinkRescale(),
    LowerPadding(),
    CommuteSign(),
    FoldBatchNorm(),
    LowerScores(),
    FoldAffine(),
    FoldBorder(),
    SinkFlatten(),
    CommutePool(),
    FoldBorder(),
    AbsorbFlips(),
    AbsorbFlatten(),
    EliminateCommon(),
    CheckRanges(),
    FuseLayers(),
    EliminateDead(),
)
"""What every target needs; a pass may stand twice."""


def ignore(step: int, name: str, graph: NnGraph | BitGraph) -> None:
    """Observe nothing."""


def layout_passes(storage: StorageForm) -> tuple[BitPass, ...]:
    """Return the passes that prepare a lowered graph for one form of one target."""
    return (AssignLayouts(spatial=storage.spatial, rows=storage.rows),)


def run_pipeline(
    graph: BitGraph,
    passes: Sequence[BitPass] = BIT_PASSES,
    observe: Observer = ignore,
    *,
    verify: bool = True,
    first_step: int = 1,
) -> BitGraph:
    """Return ``graph`` after ``passes``, each verified and shown to ``observe``.

    Args:
        graph: a valid bit graph.
        passes: in order.
        observe: called after each pass.
        verify: check the graph after every pass.
        first_step: the number of the first pass.

    Raises:
        InternalError: if a pass made an invalid graph.
        CompileError: if a pass refuses the network.
    """
    for step, item in enumerate(passes, first_step):
        graph = item.run(graph)
        if verify:
            require_valid(verify_bit(graph), item.name)
        observe(step, item.name, graph)
    return graph


def lower_network(graph: NnGraph, observe: Observer = ignore, *, verify: bool = True) -> BitGraph:
    """Return the bound nn graph as fused integer layers, ready for `layout_passes`.

    Raises:
        InternalError: if a pass made an invalid graph.
        CompileError: if a pass refuses the network.
    """
    require_valid(verify_nn(graph), "the front end")
    lowered = LowerToBits().run(graph)
    require_valid(verify_bit(lowered), LowerToBits.name)
    observe(0, LowerToBits.name, lowered)
    finished = run_pipeline(lowered, BIT_PASSES, observe, verify=verify)
    require_valid(verify_lowered(finished), "the last pass")
    return finished
