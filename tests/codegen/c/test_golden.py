"""The text of small programs, reviewed as a diff; ``pytest --update-golden`` rewrites it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnncc.ir.types import Elem
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.target import CTarget
from tests.networks import square
from tests.unit.targets_c.builder import Bits, program_of

GOLDEN = Path(__file__).parents[2] / "golden" / "c"
NETWORK = "/* ---- the network --"


def convnet() -> Bits:
    net = Bits("convnet")
    x = net.layer(net.plain(Elem.U8, 3, 8, 8), 64, square(3, padding=1), has_border=True)
    x = net.layer(x, 100, square(3, padding=1), pool=square(2, stride=2), is_flipped=True, has_border=True)
    net.output(net.layer(x, 10, None, "scores"))
    return net


def overlapping_pool() -> Bits:
    net = Bits("overlapping_pool")
    x = net.layer(net.signs(33, 9, 9), 70, square(3, stride=2), pool=square(3, stride=2, padding=1))
    net.output(net.layer(x, 5, square(1), "sums", is_flipped=True))
    return net


def mlp() -> Bits:
    net = Bits("mlp")
    x = net.layer(net.plain(Elem.I8, 30), 65, None)
    net.output(net.layer(x, 10, None, "scores"))
    return net


CASES = {make.__name__: make for make in (convnet, overlapping_pool, mlp)}


@pytest.mark.parametrize("form", list(CForm))
@pytest.mark.parametrize("name", CASES)
def test_text_of_the_network(name, form, update_golden):
    program = program_of(CASES[name]().graph(), form)
    artifact = CTarget(form=form).emit(program)
    assert artifact == CTarget(form=form).emit(program)
    text = artifact.file("model.c").text
    path = GOLDEN / f"{name}.{form.value}.c"
    shown = text[: text.index("#include")] + text[text.index(NETWORK) :]
    compare(path, shown, update=update_golden)
    if form is CForm.PORTABLE:
        compare(GOLDEN / f"{name}.h", artifact.file("model.h").text, update=update_golden)


def compare(path: Path, text: str, *, update: bool) -> None:
    if update:
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
