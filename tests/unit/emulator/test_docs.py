"""What docs/emulator.md shows and says is true."""

from __future__ import annotations

import re
from pathlib import Path

from bnncc import emulator
from tests.emulator_faults.cases import cases

PAGE = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/emulator.md", "exec"), {})


def test_every_kind_of_finding_is_explained() -> None:
    assert {kind.name for kind in emulator.FaultKind} <= set(re.findall(r"`([A-Z_]+)`", PAGE))


def test_the_number_of_kernels_is_right() -> None:
    assert f"the {len(cases())} kernels of" in PAGE
