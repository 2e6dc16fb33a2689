"""No text, however long or odd, does more than raise a CompileError."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnncc._resources import resource_dir
from bnncc.diagnostics import CompileError, Diagnostic
from bnncc.diagnostics.render import render_json, render_text
from bnncc.frontend.errors.syntax import SourceTooLong
from bnncc.frontend.format import format_text
from bnncc.frontend.load import load_text
from bnncc.frontend.parse import MAX_SOURCE_CHARACTERS, parse_bytes, parse_text
from tests.unit.frontend.programs import sources

EXAMPLES = {path.name: path.read_text("utf-8") for path in sorted(resource_dir("examples").glob("*.bnn"))}
WORDS = sorted({word for text in EXAMPLES.values() for word in text.split() if not word.startswith("#")})


def attempt(text: str) -> None:
    """Parse, elaborate, format, render: nothing but a CompileError may come out."""
    found: tuple[Diagnostic, ...] = ()
    try:
        load_text(text, "fuzz.bnn", includes={"blocks.bnn": EXAMPLES["blocks.bnn"]})
    except CompileError as error:
        found = error.diagnostics
    for diagnostic in found:
        lines = diagnostic.span.source.text.split("\n")
        assert 1 <= diagnostic.span.start.line <= len(lines)
        assert diagnostic.span.start <= diagnostic.span.end
    rendered = render_text(found)
    assert all(character.isprintable() or character == "\n" for character in rendered)
    render_json(found)
    with suppress(CompileError):
        format_text(text, "fuzz.bnn")


fuzz = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@fuzz
@given(st.binary(max_size=200))
def test_random_bytes(content: bytes) -> None:
    try:
        parse_bytes(content, "fuzz.bnn")
    except CompileError as error:
        render_text(error.diagnostics)


@fuzz
@given(st.text(max_size=200))
def test_random_text(text: str) -> None:
    attempt(text.replace("\r", "\n"))


@fuzz
@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_random_words(words: list[str]) -> None:
    attempt("network n { input x: u8[4] x -> " + " ".join(words))
    attempt(" ".join(words))


@fuzz
@given(sources())
def test_random_programs(text: str) -> None:
    attempt(text)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_mutated_examples(name: str) -> None:
    """Seeded, so that a failure can be repeated: delete, double or replace a few characters."""
    rng = random.Random(name)
    for _ in range(25):
        text = EXAMPLES[name]
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(text))
            length = rng.randint(1, 12)
            new = rng.choice(
                ["", text[start : start + length] * 2, rng.choice(WORDS), rng.choice('{}()[]=->,:#"1\x00')]
            )
            text = text[:start] + new + text[start + length :]
        attempt(text)


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 10_000 + "1" + ")" * 10_000,
        "-" * 10_000 + "1",
        "1" + "**1" * 5_000,
        "1" + "+1" * 5_000,
        "1" + "+(1" * 45 + ")" * 45,
        "if 1 == 1 then " * 2_000 + "1" + " else 1" * 2_000,
        "[" * 45 + "]" * 45,
        "9" * 100_000,
        "1e999999999999",
        "1e999**1e999",
        "2**(2**(2**(2**(2**2))))",
        "f(" * 45 + ")" * 45,
        "1 if",
        "-" * 250 + "1",
        "1" + "**1" * 120,
    ],
    ids=lambda text: text[:20],
)
def test_absurd_expressions(expression: str) -> None:
    attempt(f"network n(a = {expression}) {{ input x: u8[4] x -> dense(2) -> output y }}")


@pytest.mark.parametrize(
    "flow",
    [
        "dropout(0.1) -> " * 2_000 + "dense(2)",
        "repeat 10000 { repeat 10000 { repeat 10000 { input } } }",
        "repeat 10000 { repeat 10000 { dropout(0.1) } }",
        "repeat 40 { b31 }",
        "repeat 0 { nothing }",
        "conv(2147483647, 255)",
        "dense(2147483647)",
    ],
    ids=lambda text: text[:30],
)
def test_absurd_flows(flow: str) -> None:
    blocks = "block b0 { dropout(0.1) }\n" + "".join(
        f"block b{n} {{ b{n - 1} -> b{n - 1} }}\n" for n in range(1, 32)
    )
    attempt(f"{blocks}network n {{ input x: u8[4] x -> {flow} -> output y }}")


def test_many_levels_of_everything_at_once_keep_clear_of_the_recursion_limit() -> None:
    blocks = "block b0 { dropout(0.1) }\n" + "".join(
        f"block b{n} {{ repeat 1 {{ repeat 1 {{ concat(b{n - 1}) }} }} }}\n" for n in range(1, 40)
    )
    attempt(f"{blocks}network n {{ input x: u8[4] x -> b39 -> dense(2) -> output y }}")
    nested = "x"
    for _ in range(40):
        nested = f"concat({nested} -> dropout(1/(2 + 3*max(1, 2))))"
    attempt(f"network n {{ input x: u8[4] {nested} -> dense(2) -> output y }}")


def test_source_too_long() -> None:
    with pytest.raises(CompileError) as caught:
        parse_text("#" * (MAX_SOURCE_CHARACTERS + 1), "long.bnn")
    assert isinstance(caught.value.diagnostics[0], SourceTooLong)


def test_ten_thousand_lines() -> None:
    text = "block b {\n" + "  let y = input -> conv(64, 3, stride = 2) -> sign\n" * 10_000 + "}\n"
    assert len(parse_text(text, "long.bnn").items) == 1
