"""Every situation of the catalogue, as the user sees it: one bad program, one golden text."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path

import pytest

from bnncc.diagnostics import CompileError, Diagnostic
from bnncc.diagnostics.pages import is_program, page_of
from bnncc.diagnostics.render import render_text
from bnncc.frontend.errors.catalogue import CATALOGUE
from bnncc.frontend.errors.syntax import SourceTooLong
from bnncc.frontend.load import load_network, load_text, parse_overrides

FOLDER = Path(__file__).parent
CASES = sorted(path for path in FOLDER.glob("*/*.bnn"))
# A file of eight million characters is no test case; tests/unit/frontend/test_limits.py makes one.
WITHOUT_CASE = {SourceTooLong}


@pytest.fixture(autouse=True)
def _in_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goldens name files relative to this folder."""
    monkeypatch.chdir(FOLDER)


@cache
def diagnostics_of(case: Path) -> tuple[Diagnostic, ...]:
    first = case.read_bytes().split(b"\n", 1)[0].decode(errors="replace")
    options = first.removeprefix("# options:").split("-D")[1:] if first.startswith("# options:") else []
    with pytest.raises(CompileError) as caught:
        load_network(case.relative_to(FOLDER), parse_overrides([option.strip() for option in options]))
    return caught.value.diagnostics


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_golden(case: Path, update_golden: bool) -> None:
    text = render_text(diagnostics_of(case))
    golden = case.with_suffix(".err")
    if update_golden:
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


def test_every_situation_has_a_case() -> None:
    seen = {type(diagnostic) for case in CASES for diagnostic in diagnostics_of(case)}
    assert {s.__name__ for s in set(CATALOGUE) - seen} == {s.__name__ for s in WITHOUT_CASE}


def test_the_catalogue_is_whole() -> None:
    listed = {
        situation for situation in CATALOGUE if situation.__module__.startswith("bnncc.frontend.errors.")
    }
    defined = {s for s in Diagnostic.__subclasses__() if s.__module__.startswith("bnncc.frontend.errors.")}
    assert listed == defined


def test_codes_are_unique() -> None:
    codes = [situation.code for situation in CATALOGUE]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("situation", CATALOGUE, ids=lambda s: s.__name__)
def test_the_example_of_the_page_gives_just_this_error(situation: type[Diagnostic]) -> None:
    sections = page_of(situation).sections
    assert set(sections) == {"Why", "Example", "Fix"}
    if is_program(sections["Example"]):
        with pytest.raises(CompileError) as caught:
            load_text(sections["Example"], "example.bnn")
        assert [type(diagnostic) for diagnostic in caught.value.diagnostics] == [situation]
    if is_program(sections["Fix"]):
        load_text(sections["Fix"], "example.bnn")


def test_the_pages_are_up_to_date() -> None:
    docs = FOLDER.parents[1] / "docs"
    written = {path.name: path.read_text("utf-8") for path in (docs / "errors").glob("*.md")}
    assert runpy.run_path(str(docs / "write_error_pages.py"))["all_pages"]() == written


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_style(case: Path) -> None:
    """A headline is a sentence; labels and notes are fragments; nothing of the parser generator shows."""
    for diagnostic in diagnostics_of(case):
        assert diagnostic.headline.endswith((".", "'."))
        for fragment in (diagnostic.label, *(note.text for note in diagnostic.notes)):
            assert not fragment.endswith(".")
        text = render_text([diagnostic])
        for word in ("LPAR", "RBRACE", "CALLEE", "Token(", "$END", "None", "Fraction(", "<bnncc", "_star_"):
            assert word not in text
