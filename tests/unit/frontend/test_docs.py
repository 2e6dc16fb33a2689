"""What docs/language.md shows is true."""

from __future__ import annotations

import re
from pathlib import Path

from bnncc.frontend.format import format_text
from bnncc.frontend.layers import FUNCTIONS, LAYERS
from bnncc.frontend.load import load_text

TEXT = (Path(__file__).parents[3] / "docs" / "language.md").read_text("utf-8")


def test_programs_are_good_and_in_the_canonical_layout() -> None:
    programs = [code for code in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) if "network " in code]
    assert len(programs) == 3
    for program in programs:
        load_text(program, "language.md")
        assert format_text(program, "language.md") == program


def test_every_layer_is_listed_with_its_arguments() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (?:`(.*?)`)? ?\|", TEXT, re.MULTILINE)
    listed = {name: arguments for names, arguments in rows for name in re.findall(r"`(\w+)`", names)}
    for name, layer in LAYERS.items():
        assert tuple(re.findall(r"(?:^|, )(\w+)", listed[name])) == layer.parameters.names
        required = tuple(part for part in listed[name].split(", ") if part and "=" not in part)
        assert required == layer.parameters.required
    for name in FUNCTIONS:
        assert f"{name}(" in TEXT
