"""The situations that appear after the front end, as the user sees them: weights, sums that are too large."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bnncc.analysis.ranges import SumTooLarge
from bnncc.diagnostics import CompileError, Diagnostic
from bnncc.diagnostics.render import render_text
from bnncc.frontend.load import load_text
from bnncc.passes import weight_errors
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.pipeline import lower_network
from bnncc.weights import random_weights

FOLDER = Path(__file__).parent / "compile"
SMALL = """\
network small {
  input image: u8[4]
  image -> dense(2) -> batch_norm -> sign -> dense(3) -> output scores
}
"""
FINE_STEPS = """\
network fine_steps {
  input image: u8[600]
  image -> normalize(scale = 100003/6000000, shift = -999/1000)
    -> dense(2) -> batch_norm -> output scores
}
"""


def _problems(
    source: str, name: str, changes: Mapping[str, npt.NDArray[Any] | None]
) -> tuple[Diagnostic, ...]:
    graph = load_text(source, f"{name}.bnn").graph
    arrays = {**random_weights(graph, 0).arrays, **changes}
    given = {key: array for key, array in arrays.items() if array is not None}
    with pytest.raises(CompileError) as caught:
        lower_network(BindWeights(weights=given, origin="'w.safetensors'").run(graph))
    return caught.value.diagnostics


CASES = {
    "missing": (SMALL, {"dense2.weight": None}),
    "unexpected": (SMALL, {"dense3.weight": np.ones((3, 2), np.float32)}),
    "wrong_shape": (SMALL, {"dense1.weight": np.ones((2, 5), np.float32)}),
    "not_finite": (SMALL, {"batch_norm1.beta": np.array([0, np.nan], np.float32)}),
    "negative_variance": (SMALL, {"batch_norm1.var": np.array([1, -1], np.float32)}),
    "sum_too_large": (FINE_STEPS, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, update_golden: bool) -> None:
    source, changes = CASES[name]
    text = render_text(_problems(source, name, changes))
    golden = FOLDER / f"{name}.err"
    if update_golden:
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


def test_every_situation_has_a_case() -> None:
    seen = {
        type(item) for name, (source, changes) in CASES.items() for item in _problems(source, name, changes)
    }
    defined = {s for s in Diagnostic.__subclasses__() if s.__module__ == weight_errors.__name__}
    assert seen == defined | {SumTooLarge}
