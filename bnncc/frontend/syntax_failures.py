"""A token that cannot stand where it does, in the user's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bnncc.diagnostics import Diagnostic, Source
from bnncc.frontend.errors.syntax import (
    KeywordAsName,
    MissingComma,
    MissingLayer,
    StrayEquals,
    UnexpectedToken,
)
from bnncc.frontend.lexer import Token
from bnncc.frontend.table import END

_KEYWORDS: Final = frozenset(
    {"NETWORK", "BLOCK", "INPUT", "LET", "OUTPUT", "REPEAT", "IN", "INCLUDE", "TRAIN", "IF", "THEN", "ELSE"}
)
_STARTS_VALUE: Final = frozenset(
    {"NUMBER", "TEXT", "NAME", "CALLEE", "LPAR", "LSQB", "INPUT", "IF", "REPEAT"}
)
_ITEMS: Final = frozenset({"NETWORK", "BLOCK", "TRAIN", "INCLUDE"})
_STATEMENTS: Final = frozenset({"LET", "OUTPUT", "BLOCK"}) | _STARTS_VALUE
_STEPS: Final = frozenset({"OUTPUT", "REPEAT", "NAME", "CALLEE"})
_NAMES: Final = frozenset({"NAME", "CALLEE"})
_OPERATORS: Final = frozenset(
    {"PLUS", "MINUS", "STAR", "SLASH", "PERCENT", "FLOOR_DIVIDE", "POWER", "COMPARISON"}
)
# The first terminals tell a group, the second are all that it covers; operators follow any value: not listed.
_GROUPS: Final[tuple[tuple[frozenset[str], frozenset[str], tuple[str, ...]], ...]] = (
    (frozenset({"LET", "OUTPUT"}), _STATEMENTS, ("a statement",)),
    (frozenset({"NETWORK", "INCLUDE"}), _ITEMS, ("'network'", "'block'", "'train'", "'include'")),
    (frozenset({"OUTPUT", "REPEAT"}), _STEPS, ("a layer",)),
    (frozenset({"NUMBER", "LPAR"}), _STARTS_VALUE | {"PLUS", "MINUS"}, ("a value",)),
    (frozenset({"PLUS", "STAR"}), _OPERATORS, ()),
    (frozenset({"NAME"}), _NAMES, ("a name",)),
    (frozenset({"CALLEE"}), _NAMES, ("a name",)),
)
_SIGNS: Final = {
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "COLON": "':'",
    "EQUAL": "'='",
    "ARROW": "'->'",
    "POWER": "'**'",
    "FLOOR_DIVIDE": "'//'",
    "PLUS": "'+'",
    "MINUS": "'-'",
    "STAR": "'*'",
    "SLASH": "'/'",
    "PERCENT": "'%'",
    "COMPARISON": "a comparison",
    "NUMBER": "a number",
    "TEXT": "a text in quotes",
    END: "the end of the file",
}


def explain(tokens: Sequence[Token], index: int, expected: frozenset[str], source: Source) -> Diagnostic:
    """Return the situation at ``tokens[index]``, where only ``expected`` could stand."""
    token = tokens[index]
    before = tokens[index - 1] if index else None
    span = token.span(source)
    if token.kind == "EQUAL":
        name = before.text if before is not None and before.kind == "NAME" else ""
        is_setting = bool(name) and "NUMBER" in expected and "ARROW" not in expected
        return StrayEquals(span=span, name=name, is_setting=is_setting)
    if before is not None and before.kind == "ARROW":
        return MissingLayer(span=span, arrow=before.span(source), found=_described(token))
    if token.kind in _KEYWORDS and _wants_name(token, before, expected):
        return KeywordAsName(span=span, word=token.text)
    if "COMMA" in expected and token.kind in _STARTS_VALUE:
        return MissingComma(span=span)
    return UnexpectedToken(
        span=span,
        found=_described(token),
        expected=_phrases(expected),
        advice=_advice(token, before, expected),
    )


def _wants_name(token: Token, before: Token | None, expected: frozenset[str]) -> bool:
    """Return whether a name is meant here: only 'input', which is a value too, may end a statement."""
    is_named = before is not None and before.kind == "INPUT" and before.line == token.line
    return is_named or ("NAME" in expected and not expected >= {"LET", "OUTPUT"})


def _described(token: Token) -> str:
    return _SIGNS[END].capitalize() if token.kind == END else f"'{token.text}'"


def _phrases(expected: frozenset[str]) -> tuple[str, ...]:
    """Return friendly names of ``expected``, without the operators that may follow any value."""
    phrases: list[str] = []
    rest = set(expected)
    for needed, covered, words in _GROUPS:
        if needed <= rest:
            rest -= covered
            phrases.extend(words)
    phrases.extend(_SIGNS.get(name, f"'{name.lower()}'") for name in sorted(rest))
    return tuple(dict.fromkeys(phrases))


def _advice(token: Token, before: Token | None, expected: frozenset[str]) -> str:
    if before is not None and before.kind == "COLON" and token.kind == "CALLEE":
        return "a type is an element and its dimensions in square brackets: u8[3, 32, 32]."
    if token.kind == "COLON" and "EQUAL" in expected:
        return "arguments and defaults are given with '=': 'stride = 2'."
    if token.kind == "ARROW":
        return "put a value before the first '->'."
    if expected >= {"NETWORK", "INCLUDE"}:
        return "statements stand inside 'network name { ... }'."
    return ""
