"""The canonical layout of a source: `bnncc fmt`.

Line breaks between layers and arguments are the author's; spaces, indentation and blank lines are not.
Comments stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final

from bnncc.diagnostics import InternalError, Position, Source
from bnncc.frontend import ast
from bnncc.frontend.lexer import Token, lex
from bnncc.frontend.parse import parse_table, parse_text

INDENT: Final = 2
_OPENERS: Final = frozenset({"LBRACE", "LPAR", "LSQB"})
_CLOSERS: Final = frozenset({"RBRACE", "RPAR", "RSQB"})
_TIGHT: Final = frozenset({"STAR", "SLASH", "FLOOR_DIVIDE", "PERCENT", "POWER"})
_NO_SPACE_BEFORE: Final = frozenset({"RPAR", "RSQB", "COMMA", "COLON"}) | _TIGHT
_NO_SPACE_AFTER: Final = frozenset({"LPAR", "LSQB"}) | _TIGHT


def format_text(text: str, name: str) -> str:
    """Return ``text`` in the canonical layout; formatting the result again changes nothing.

    Raises:
        CompileError: E01xx where it cannot be parsed.
    """
    tree = parse_text(text, name)
    result = _Layout(tree).run()
    if parse_text(result, name) != tree:
        raise InternalError(f"formatting would change the meaning of '{name}'. Please report this fault.")
    return result


@dataclass(frozen=True, slots=True)
class _Level:
    """An open bracket: the indentation of its line, and whether its content is one statement a line."""

    indent: int
    is_body: bool
    is_broken: bool


class _Layout:
    """One pass over the words of a source."""

    def __init__(self, tree: ast.File) -> None:
        source = tree.span.source
        lexed = lex(source, parse_table())
        self._words = sorted((*lexed.tokens, *lexed.comments), key=lambda word: (word.line, word.column))
        nodes = tuple(_walk(tree))
        self._statements = {
            _key(node.span.start) for node in nodes if isinstance(node, ast.Item | ast.Statement)
        }
        self._statements |= {_key(node.span.start) for node in nodes if isinstance(node, ast.Setting)}
        self._signs = {_key(node.span.start) for node in nodes if isinstance(node, ast.Unary)}
        pairs = pairwise(self._words)
        self._elements = {_place(word) for before, word in pairs if before.kind == "COLON"}
        self._broken = _broken_brackets(self._words)
        self._levels = [_Level(-INDENT, is_body=True, is_broken=True)]
        self._line_indent = 0
        self._written: list[str] = []

    def run(self) -> str:
        """Return the source laid out."""
        before: Token | None = None
        for number, word in enumerate(self._words):
            breaks = 0 if before is None else self._breaks(before, word)
            if before is None or breaks:
                self._line_indent = self._indent(number)
                self._written.append("\n" * breaks + " " * self._line_indent)
            else:
                self._written.append(self._gap(before, word))
            self._write(word)
            before = word
        return "".join(self._written) + ("\n" if self._written else "")

    def _write(self, word: Token) -> None:
        if word.kind == "COMMENT":
            self._written.append(_comment(word.text))
            return
        self._written.append(word.text)
        if word.kind in _OPENERS:
            is_broken = _place(word) in self._broken
            self._levels.append(_Level(self._line_indent, is_body=word.kind == "LBRACE", is_broken=is_broken))
        elif word.kind in _CLOSERS:
            self._levels.pop()

    def _breaks(self, before: Token, word: Token) -> int:
        """Return the number of line breaks between two words."""
        level = self._levels[-1]
        lines = min(word.line - before.line, 2)
        if word.kind == "COMMENT" and lines == 0:
            return 0
        if level.is_body and level.is_broken:
            if before.kind == "LBRACE" or word.kind == "RBRACE":
                return 1
            if self._begins_statement(word):
                return max(lines, 1)
        return lines

    def _begins_statement(self, word: Token) -> bool:
        return _place(word) in self._statements

    def _indent(self, number: int) -> int:
        """Return the indentation of a line that begins with this word."""
        level = self._levels[-1]
        words = (self._words[later] for later in range(number, len(self._words)))
        word = next((word for word in words if word.kind != "COMMENT"), None)
        if self._words[number].kind in _CLOSERS:
            return level.indent
        inner = level.indent + INDENT
        if word is None or word.kind in _CLOSERS or not level.is_body or self._begins_statement(word):
            return inner
        return inner + INDENT

    def _gap(self, before: Token, word: Token) -> str:
        """Return what stands between two words of one line."""
        if word.kind == "COMMENT":
            return "  "
        if before.kind == "LBRACE" and word.kind == "RBRACE":
            return ""
        is_tight = (
            before.kind in _NO_SPACE_AFTER
            or word.kind in _NO_SPACE_BEFORE
            or _place(before) in self._signs
            or (before.kind == "CALLEE" and word.kind == "LPAR")
            or (word.kind == "LSQB" and _place(before) in self._elements)
        )
        return "" if is_tight else " "


def _walk(tree: ast.AstNode) -> Iterator[ast.AstNode]:
    """Yield every node, without recursion: a tree may be hundreds of levels deep."""
    pending: list[object] = [tree]
    while pending:
        content = pending.pop()
        if isinstance(content, ast.AstNode):
            yield content
            pending.extend(getattr(content, item.name) for item in fields(content))
        elif isinstance(content, tuple):
            pending.extend(content)


def _broken_brackets(words: Sequence[Token]) -> set[tuple[int, int]]:
    """Return the places of the opening brackets whose closing ones stand on another line."""
    broken: set[tuple[int, int]] = set()
    open_brackets: list[Token] = []
    for word in words:
        if word.kind in _OPENERS:
            open_brackets.append(word)
        elif word.kind in _CLOSERS:
            opener = open_brackets.pop()
            if opener.line != word.line:
                broken.add(_place(opener))
    return broken


def _comment(text: str) -> str:
    body = text.rstrip()
    return f"# {body[1:]}" if len(body) > 1 and body[1] not in " #!" else body


def _key(position: Position) -> tuple[int, int]:
    return (position.line, position.column)


def _place(word: Token) -> tuple[int, int]:
    return (word.line, word.column)


def is_formatted(source: Source) -> bool:
    """Return whether ``source`` has the canonical layout already.

    Raises:
        CompileError: as `format_text`.
    """
    return format_text(source.text, source.name) == source.text
