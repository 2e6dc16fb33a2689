"""What each pass does, as text: `pytest --update-golden` rewrites the files, and the diff is reviewed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from bnncc.ir.graph import Graph
from bnncc.ir.text import print_graph
from bnncc.passes.lower_to_bits import LowerToBits
from tests.corpus import graph
from tests.stages import PASSES, stages

FOLDER: Final = Path(__file__).parent.parent / "golden" / "passes"
CASES: Final = (
    ("sink-rescale", "flatten_input"),
    ("sink-rescale", "pooled_input"),
    ("lower-first-layer", "conv_first_negative"),
    ("lower-padding", "conv_pad1_c3_k3s1d1"),
    ("commute-sign", "conv_pool_after_norm"),
    ("fold-batch-norm", "mlp_mixed_gammas"),
    ("fold-batch-norm", "shared_sum"),
    ("lower-scores", "mlp_mixed_gammas"),
    ("fold-affine", "mlp_shift"),
    ("fold-border", "one_bit_input_negative"),
    ("fold-border", "conv_first_negative"),
    ("sink-flatten", "flatten_before_norm"),
    ("commute-pool", "overlapping_pool"),
    ("absorb-flips", "flatten_before_norm"),
    ("absorb-flatten", "one_bit_input"),
    ("eliminate-common", "pass_through"),
    ("fuse-layers", "conv_first_pooled"),
    ("fuse-layers", "shortcut_sums"),
    ("eliminate-dead", "pass_through"),
    ("assign-layouts", "two_inputs_two_outputs"),
)


def text_of(found: Graph[Any]) -> str:
    """Return the text without digests, which say nothing to a reader."""
    return re.sub(r"(const @\S+ : \S.*) = \w+", r"\1", print_graph(found))


def compare(path: Path, before: Graph[Any], after: Graph[Any], *, update: bool) -> None:
    text = f"{text_of(before)}-----\n{text_of(after)}"
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), "run pytest --update-golden"
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("transform", "name"), CASES)
def test_pass(transform: str, name: str, update_golden: bool) -> None:
    changes = [s for s in stages(name) if s.transform.name == transform and s.after is not s.before]
    assert changes, "the pass does nothing to this network"
    compare(FOLDER / transform / f"{name}.bnnir", changes[0].before, changes[0].after, update=update_golden)


@pytest.mark.parametrize("name", ["conv_first", "shortcut_real", "mlp_shift"])
def test_lowering(name: str, update_golden: bool) -> None:
    before = graph(name)
    path = FOLDER / "lower-to-bits" / f"{name}.bnnir"
    compare(path, before, LowerToBits().run(before), update=update_golden)


def test_every_pass_has_a_case() -> None:
    # It changes nothing by design.
    assert {item.name for item in PASSES} - {name for name, _ in CASES} == {"check-ranges"}


def test_every_file_has_a_case() -> None:
    wanted = {f"{transform}/{name}" for transform, name in CASES}
    wanted |= {f"lower-to-bits/{name}" for name in ("conv_first", "shortcut_real", "mlp_shift")}
    assert {f"{path.parent.name}/{path.stem}" for path in FOLDER.rglob("*.bnnir")} == wanted
