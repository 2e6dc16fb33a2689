"""The parse table: what Lark computes from the grammar, as plain data that loads without Lark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

GRAMMAR_FILE: Final = "bnn.lark"
TABLE_FILE: Final = "bnn.table.json"
END: Final = "$END"


class Reduction(Enum):
    """What becomes of the children when a rule is complete.

    ``PASS``: the only child stands for the rule. ``COLLECT``: they join the children of the rule above.
    ``BUILD``: the tree builder makes a node of them.
    """

    PASS = "pass"  # noqa: S105 - not a password: the child is passed on
    COLLECT = "collect"
    BUILD = "build"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alternative of the grammar.

    Args:
        origin: the rule's name.
        size: the number of its children.
        reduction: what becomes of them.
        has_collected: whether one of them is the list of a ``COLLECT`` rule, to be spliced in.
    """

    origin: str
    size: int
    reduction: Reduction
    has_collected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseTable:
    """An LALR(1) automaton and the words it reads.

    Args:
        fingerprint: of the grammar text that it was computed from.
        patterns: regular expression of each terminal, in the order in which they are tried.
        keywords: terminal of each reserved word.
        ignored: terminals that the parser never sees.
        rules: of the grammar.
        states: for each state, the number of the next one for each terminal to shift and each rule just
            completed; for a terminal at which rule ``r`` is complete, ``-r - 1``.
        start: the first state.
        end: the state in which a whole file has been read.
    """

    fingerprint: str
    patterns: Mapping[str, str]
    keywords: Mapping[str, str]
    ignored: frozenset[str]
    rules: tuple[Rule, ...]
    states: tuple[Mapping[str, int], ...]
    start: int
    end: int

    def to_json(self) -> str:
        """Return the text that `from_json` reads, one line for each rule and state."""
        rules = [[r.origin, r.size, r.reduction.value, r.has_collected] for r in self.rules]
        head = {
            "fingerprint": self.fingerprint,
            "start": self.start,
            "end": self.end,
            "ignored": sorted(self.ignored),
            "keywords": dict(self.keywords),
            "patterns": dict(self.patterns),
        }
        lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
        lines.append('"rules": [\n' + ",\n".join(json.dumps(rule) for rule in rules) + "\n]")
        lines.append('"states": [\n' + ",\n".join(json.dumps(dict(row)) for row in self.states) + "\n]")
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @staticmethod
    def from_json(text: str) -> ParseTable:
        """Return the table written by `to_json`."""
        content = json.loads(text)
        return ParseTable(
            fingerprint=content["fingerprint"],
            patterns=content["patterns"],
            keywords=content["keywords"],
            ignored=frozenset(content["ignored"]),
            rules=tuple(
                Rule(origin=origin, size=size, reduction=Reduction(reduction), has_collected=has_collected)
                for origin, size, reduction, has_collected in content["rules"]
            ),
            states=tuple(content["states"]),
            start=content["start"],
            end=content["end"],
        )


def fingerprint(grammar: str) -> str:
    """Return the identity of a grammar text."""
    return hashlib.sha256(grammar.encode()).hexdigest()
