"""The graphs of the corpus after every pass, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from bnncc.ir.bit import BitGraph
from bnncc.ir.types import Layout
from bnncc.passes.assign_layouts import AssignLayouts
from bnncc.passes.lower_to_bits import LowerToBits
from bnncc.passes.pipeline import BIT_PASSES, BitPass
from tests.corpus import graph

LAYOUTS = (
    AssignLayouts(spatial=Layout.NHWC_WORDS64, rows=Layout.NHWC_WORDS64),
    AssignLayouts(spatial=Layout.PLANES128, rows=Layout.ROWS8X128),
)
PASSES: tuple[BitPass, ...] = (*BIT_PASSES, *LAYOUTS[1:])


@dataclass(frozen=True)
class Stage:
    """A pass, its input and its result."""

    transform: BitPass
    before: BitGraph
    after: BitGraph


@cache
def stages(name: str) -> tuple[Stage, ...]:
    """Return what each pass does to the network called ``name``."""
    current = LowerToBits().run(graph(name))
    found = []
    for transform in PASSES:
        after = transform.run(current)
        found.append(Stage(transform, current, after))
        current = after
    return tuple(found)
