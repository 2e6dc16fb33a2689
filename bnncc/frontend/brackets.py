"""Brackets that do not match, found before parsing: one missing brace is one error, at the right place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bnncc.diagnostics import Diagnostic, Note, Source
from bnncc.frontend.errors.syntax import NestedTooDeeply, UnclosedBracket, UnmatchedBracket
from bnncc.frontend.lexer import Token

MAX_BRACKET_DEPTH: Final = 50

_PARTNERS: Final = {"LBRACE": "}", "LPAR": ")", "LSQB": "]"}
_OPENER_OF: Final = {"RBRACE": "LBRACE", "RPAR": "LPAR", "RSQB": "LSQB"}


def check_brackets(tokens: Sequence[Token], source: Source) -> tuple[Diagnostic, ...]:
    """Return what is wrong with the brackets among ``tokens``."""
    found: list[Diagnostic] = []
    open_brackets: list[Token] = []
    pairs: list[tuple[Token, Token]] = []
    for token in tokens:
        if token.kind in _PARTNERS:
            open_brackets.append(token)
            if len(open_brackets) == MAX_BRACKET_DEPTH + 1:
                found.append(NestedTooDeeply(span=token.span(source), limit=MAX_BRACKET_DEPTH))
        elif token.kind in _OPENER_OF:
            height = _partner(open_brackets, token.kind)
            if height is None:
                found.append(UnmatchedBracket(span=token.span(source), bracket=token.text))
                continue
            note = Note(token.span(source), f"'{token.text}' comes first")
            found.extend(_unclosed(opener, note, source) for opener in open_brackets[height + 1 :])
            pairs.append((open_brackets[height], token))
            del open_brackets[height:]
    if open_brackets:
        found.append(_unclosed_at_end(open_brackets[0], pairs, source))
    return tuple(sorted(found, key=lambda d: d.span.start))


def _partner(open_brackets: Sequence[Token], kind: str) -> int | None:
    """Return the place of the bracket that ``kind`` closes; only a '}' reaches over other brackets."""
    for height in range(len(open_brackets) - 1, -1, -1):
        if open_brackets[height].kind == _OPENER_OF[kind]:
            return height
        if open_brackets[height].kind == "LBRACE":
            return None
    return None


def _unclosed(opener: Token, note: Note | None, source: Source) -> Diagnostic:
    return UnclosedBracket(
        span=opener.span(source), bracket=opener.text, partner=_PARTNERS[opener.kind], found=note
    )


def _unclosed_at_end(outermost: Token, pairs: Sequence[tuple[Token, Token]], source: Source) -> Diagnostic:
    """Return the error at the brace whose partner is indented as another's, else at the outermost bracket."""
    lines = source.text.split("\n")
    indents = [len(line) - len(line.lstrip()) for line in lines]
    for opener, closer in pairs:
        begins_line = indents[closer.line - 1] == closer.column - 1
        if closer.kind == "RBRACE" and begins_line and indents[opener.line - 1] > indents[closer.line - 1]:
            note = Note(closer.span(source), "the '}' found for it is indented as another's")
            return _unclosed(opener, note, source)
    return _unclosed(outermost, None, source)
