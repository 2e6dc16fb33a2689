"""The generated text of a few networks, kept for review: ``--update-golden`` rewrites it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnncc._resources import resource_dir
from bnncc.ir.types import Elem
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import planned
from tests.codegen.cuda.layer_groups import POOL2, SAME3, plain_values, signs_of_values
from tests.cuda_programs import ROWS, Bits, Store

GOLDEN = Path(__file__).parents[2] / "golden" / "cuda"


def convnet():
    b = Bits("convnet")
    x = b.input(Elem.U8, 3, 32, 32)
    x = b.layer(x, 128, SAME3, Store(has_border=True))
    x = b.layer(x, 128, SAME3, Store(has_border=True, pool=POOL2, has_flips_after_pool=True, layout=ROWS))
    x = b.layer(x, 100, None, Store(layout=ROWS, has_flips=True))
    return b.output(b.layer(x, 10, None, Store(kind="scores")), "scores").program()


def mlp():
    b = Bits("mlp")
    x = b.layer(b.input(Elem.U8, 784), 512, None, Store(layout=ROWS))
    return b.output(b.layer(x, 10, None, Store(kind="sums", multiply=2)), "sums").program()


def warpgroups():
    b = Bits("warpgroups")
    x = b.packed(128, 32, 32)
    x = b.layer(x, 128, SAME3, Store(has_border=True, pool=POOL2, has_flips_after_pool=True, layout=ROWS))
    b.output(b.layer(x, 256, None, Store(layout=ROWS, has_flips=True)), "signs")
    return b.program()


@pytest.mark.parametrize(
    ("make", "tier"),
    [
        *((make, Tier.AUTO) for make in (convnet, mlp, signs_of_values, plain_values)),
        (warpgroups, Tier.WGMMA),
    ],
    ids=lambda item: "" if isinstance(item, Tier) else item.__name__,
)
def test_source(make, tier, update_golden):
    target = CudaTarget(tier=tier)
    program = make()
    if tier is Tier.WGMMA:
        program = planned(program.graph, target)
    shown = target.emit(program).source.text
    for path in sorted((resource_dir("templates") / "include").glob("*.cuh")):
        shown = shown.replace(path.read_text(), f"// ({path.name} stands here)\n")
    assert "bnncc_mismatches(uint4 a" not in shown, "the headers are left out"
    path = GOLDEN / f"{make.__name__}.cu"
    if update_golden:
        path.write_text(shown)
    assert shown == path.read_text()
