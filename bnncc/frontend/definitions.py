"""Giving names: what is reserved stays what it is, and nothing is defined twice."""

from __future__ import annotations

from collections.abc import Sequence

from bnncc.frontend import ast
from bnncc.frontend.errors.names import DuplicateName, ReservedName
from bnncc.frontend.layers import FUNCTIONS, LAYERS, WORDS
from bnncc.frontend.report import Report
from bnncc.frontend.values import Closure, Entry, Scope


def define(name: ast.Name, entry: Entry, scope: Scope, role: str, report: Report) -> None:
    """Let ``name`` stand for ``entry`` in ``scope``; ``role`` is what the user calls such a thing."""
    if name.text in LAYERS or name.text in WORDS or name.text in FUNCTIONS:
        what = "a layer" if name.text in LAYERS else "a word of the language"
        report.add(ReservedName(span=name.span, name=name.text, role=what))
        if not isinstance(entry.meaning, Closure):
            scope.define(name.text, entry)
    elif (first := scope.here(name.text)) is not None:
        report.add(DuplicateName(span=name.span, name=name.text, role=role, first=first.span))
    else:
        scope.define(name.text, entry)


def define_blocks(blocks: Sequence[ast.Block], scope: Scope, report: Report) -> None:
    """Define ``blocks``, before anything else is looked at: they can be used above their definition."""
    for block in blocks:
        define(block.name, Entry(Closure(block, scope), block.name.span), scope, "block", report)
