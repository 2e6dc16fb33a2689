"""The LALR(1) automaton that runs on the parse table, and how it goes on after a mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bnncc.frontend.lexer import Token
from bnncc.frontend.table import END, ParseTable, Reduction

Build = Callable[[list[Any]], object]
"""Makes a node of the children of a rule; they are tokens and nodes, as that rule of the grammar says."""

# What begins a statement, and what must follow: a reserved word misused as a name begins nothing.
_SYNC_KEYWORDS: Final[Mapping[str, frozenset[str]]] = {
    "OUTPUT": frozenset({"NAME"}),
    "INPUT": frozenset({"NAME", "ARROW", "PLUS"}),
    "BLOCK": frozenset({"NAME", "CALLEE", "LBRACE"}),
    "NETWORK": frozenset({"NAME", "CALLEE", "LBRACE"}),
    "TRAIN": frozenset({"LBRACE"}),
    "INCLUDE": frozenset({"TEXT"}),
}
_SYNC_RULES: Final = ("statement", "item", "setting")
_OPENERS: Final = frozenset({"LBRACE", "LPAR", "LSQB"})
_CLOSERS: Final = frozenset({"RBRACE", "RPAR", "RSQB"})
_GOES_ON: Final = frozenset(  # the words after which a line goes on
    [
        "ARROW",
        "COMMA",
        "EQUAL",
        "COLON",
        "PLUS",
        "MINUS",
        "STAR",
        "SLASH",
        "LPAR",
        "LSQB",
        "LET",
        "OUTPUT",
        "INPUT",
        "BLOCK",
        "NETWORK",
        "REPEAT",
        "IN",
    ]
)


class _Collected(list[Any]):
    """The children of a ``COLLECT`` rule, on their way to the rule above."""


class Automaton:
    """One run over the tokens of one source; the only mutable state of the parser.

    Args:
        table: to run on.
        builders: what to do for each ``BUILD`` rule, by name.
    """

    def __init__(self, table: ParseTable, builders: Mapping[str, Build]) -> None:
        self._table = table
        self._builders = builders
        self._states = [table.start]
        self._values: list[Any] = []

    @property
    def result(self) -> object:
        """Return the tree, after the end has been fed."""
        return self._values[-1]

    @property
    def height(self) -> int:
        """Return how much has been begun and not ended: brackets, signs, powers, conditions."""
        return len(self._states)

    def feed(self, token: Token) -> bool:
        """Read ``token`` and return True, or return False where it cannot stand here."""
        rows, rules = self._table.states, self._table.rules
        states, values = self._states, self._values
        kind = token.kind
        while True:
            target = rows[states[-1]].get(kind)
            if target is None:
                return False
            if target >= 0:
                states.append(target)
                values.append(token)
                return True
            rule = rules[-target - 1]
            if rule.reduction is Reduction.PASS:
                states.pop()
            else:
                children = values[-rule.size :] if rule.size else []
                del states[len(states) - rule.size :]
                del values[len(values) - rule.size :]
                values.append(self._reduce(rule.origin, rule.reduction, rule.has_collected, children))
            states.append(rows[states[-1]][rule.origin])
            if kind == END and states[-1] == self._table.end:
                return True

    def _reduce(self, origin: str, reduction: Reduction, has_collected: bool, children: list[Any]) -> object:  # noqa: FBT001 - the four facts of a rule, in the hottest call
        if has_collected:
            children = _spliced(children)
        if reduction is Reduction.COLLECT:
            return children if isinstance(children, _Collected) else _Collected(children)
        return self._builders[origin](children)

    def expected(self) -> frozenset[str]:
        """Return the terminals that could stand next."""
        terminals = (name for name in self._table.states[self._states[-1]] if name.isupper() or name == END)
        return frozenset(name for name in terminals if self._accepts(self._states, name))

    def _accepts(self, states: Sequence[int], kind: str) -> bool:
        rows, rules = self._table.states, self._table.rules
        stack = list(states)
        while True:
            target = rows[stack[-1]].get(kind)
            if target is None:
                return False
            if target >= 0:
                return True
            rule = rules[-target - 1]
            del stack[len(stack) - rule.size :]
            stack.append(rows[stack[-1]][rule.origin])
            if kind == END and stack[-1] == self._table.end:
                return True

    def resynchronise(self, tokens: Sequence[Token], index: int) -> int:
        """Forget the statement that failed at ``index``; return where the next one begins, or the end."""
        depth = 0
        for number in range(index, len(tokens)):
            kind = tokens[number].kind
            if depth == 0 and _may_begin(tokens, number) and self._cut_back(kind):
                return number
            if kind in _OPENERS:
                depth += 1
            elif kind in _CLOSERS and depth > 0:
                depth -= 1
        return len(tokens)

    def _cut_back(self, kind: str) -> bool:
        """Drop what has been read back to a place where a statement may begin and ``kind`` may stand."""
        for height in range(len(self._states), 0, -1):
            row = self._table.states[self._states[height - 1]]
            is_between = any(rule in row for rule in _SYNC_RULES)
            if is_between and self._accepts(self._states[:height], kind):
                del self._states[height:]
                del self._values[height - 1 :]
                return True
        return False


def _spliced(children: list[Any]) -> list[Any]:
    """Return ``children`` with collected lists opened; the first one grows in place, so lists stay linear."""
    if isinstance(children[0], _Collected):
        head: list[Any] = children[0]
        rest = children[1:]
    else:
        head, rest = [children[0]], children[1:]
    for child in rest:
        if isinstance(child, _Collected):
            head.extend(child)
        else:
            head.append(child)
    return head


def _may_begin(tokens: Sequence[Token], index: int) -> bool:
    """Return whether a statement, or the end of a block, may begin at ``index``."""
    token = tokens[index]
    before = tokens[index - 1] if index else None
    if before is not None and before.kind in _GOES_ON:
        return False
    if token.kind in ("LET", "RBRACE", END):
        return True
    if token.kind in _SYNC_KEYWORDS:
        return index + 1 < len(tokens) and tokens[index + 1].kind in _SYNC_KEYWORDS[token.kind]
    is_first_on_line = before is None or before.line < token.line
    return is_first_on_line and token.kind in ("NAME", "CALLEE")
