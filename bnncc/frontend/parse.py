"""Text to tree. The parse table comes from the grammar; Lark, which computes it, is imported here alone.

``python -m bnncc.frontend.parse`` writes the table anew after a change of the grammar. Reading it back takes
a millisecond, so that ``bnncc check`` answers at once and does not import Lark.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, Final, cast

from bnncc._resources import resource_dir
from bnncc.diagnostics import CompileError, Diagnostic, Position, Source, Span
from bnncc.frontend import ast
from bnncc.frontend.automaton import Automaton
from bnncc.frontend.brackets import check_brackets
from bnncc.frontend.build_ast import AstBuilder
from bnncc.frontend.errors.syntax import NestedTooDeeply, NotText, SourceTooLong
from bnncc.frontend.lexer import Token, lex
from bnncc.frontend.syntax_failures import explain
from bnncc.frontend.table import END, GRAMMAR_FILE, TABLE_FILE, ParseTable, Reduction, Rule, fingerprint

MAX_SOURCE_CHARACTERS: Final = 8 * 2**20
MAX_SYNTAX_ERRORS: Final = 20
MAX_HEIGHT: Final = 300


def parse_text(text: str, name: str) -> ast.File:
    """Return the tree of ``text``, which diagnostics call ``name``.

    Raises:
        CompileError: E01xx, every syntax error that was found.
    """
    return parse_source(Source(name, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")))


def parse_bytes(content: bytes, name: str) -> ast.File:
    """Return the tree of a file's ``content``.

    Raises:
        CompileError: E0112 where it is not UTF-8; else as `parse_text`.
    """
    try:
        return parse_text(content.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8").split("\n")
        place = Position(len(before), len(before[-1]) + 1)
        source = Source(name, content.decode("utf-8", errors="replace"))
        diagnostic = NotText(
            span=Span(source, place, Position(place.line, place.column + 1)), offset_bytes=error.start
        )
        raise CompileError((diagnostic,)) from None


def parse_source(source: Source) -> ast.File:
    """Return the tree of ``source``, whose lines end in newlines only.

    Raises:
        CompileError: as `parse_text`.
    """
    return cast("ast.File", _parse(source))


def _parse(source: Source) -> object:
    if len(source.text) > MAX_SOURCE_CHARACTERS:
        start = Position(1, 1)
        raise CompileError((SourceTooLong(span=Span(source, start, start), limit=MAX_SOURCE_CHARACTERS),))
    table = parse_table()
    lexed = lex(source, table)
    brackets = check_brackets(lexed.tokens, source)
    if lexed.diagnostics:
        raise CompileError((*lexed.diagnostics, *brackets))
    automaton = Automaton(table, AstBuilder(source).builders())
    tokens = (*lexed.tokens, _end_token(source))
    failures = _run(automaton, tokens, source)
    if brackets:
        first = min(d.span.start for d in brackets)
        failures = (*(d for d in failures if d.span.start < first), *brackets)
    if failures:
        raise CompileError(failures[:MAX_SYNTAX_ERRORS])
    return automaton.result


def _run(automaton: Automaton, tokens: tuple[Token, ...], source: Source) -> tuple[Diagnostic, ...]:
    """Feed ``tokens``; return what was wrong, going on after each mistake with the next statement."""
    failures: list[Diagnostic] = []
    index = 0
    while index < len(tokens):
        if automaton.height > MAX_HEIGHT:
            failures.append(NestedTooDeeply(span=tokens[index].span(source), limit=MAX_HEIGHT))
            break
        if automaton.feed(tokens[index]):
            index += 1
            continue
        failures.append(explain(tokens, index, automaton.expected(), source))
        if len(failures) == MAX_SYNTAX_ERRORS:
            break
        index = automaton.resynchronise(tokens, index)
    return tuple(failures)


def _end_token(source: Source) -> Token:
    lines = source.text.rstrip().split("\n")
    return Token(END, "", len(lines), len(lines[-1]) + 1)


@lru_cache(maxsize=1)
def parse_table() -> ParseTable:
    """Return the table of the installed grammar: the stored one, else (the grammar was edited) a new one."""
    folder = resource_dir("grammar")
    grammar = (folder / GRAMMAR_FILE).read_text("utf-8")
    stored = folder / TABLE_FILE
    if stored.is_file():
        table = ParseTable.from_json(stored.read_text("utf-8"))
        if table.fingerprint == fingerprint(grammar):
            return table
    return build_table(grammar)


def build_table(grammar: str) -> ParseTable:
    """Return the LALR(1) table of a Lark grammar; the same text for the same grammar, always."""
    from lark import Lark  # half of the time of `bnncc check`, and needed only after a change of the grammar

    lark = Lark(grammar, parser="lalr", start="file", keep_all_tokens=True, maybe_placeholders=False)
    conf = lark.parse_interactive("").parser_state.parse_conf
    lark_rules = sorted(lark.rules, key=lambda r: (r.origin.name, [s.name for s in r.expansion]))
    numbers = {rule: number for number, rule in enumerate(lark_rules)}
    rows = {
        state: {str(symbol): (action.name == "Shift", target) for symbol, (action, target) in row.items()}
        for state, row in conf.states.items()
    }
    order = _state_order(rows, conf.start_state)
    words = {t.pattern.value: str(t.name) for t in lark.terminals if t.pattern.value.isalpha()}
    # Expressions before fixed texts, and of those the longer first: '->' before '-'.
    terminals = sorted(
        (t for t in lark.terminals if t.pattern.value not in words),
        key=lambda t: (
            t.name not in lark.ignore_tokens,
            t.pattern.type == "str",
            -len(t.pattern.value),
            t.name,
        ),
    )
    return ParseTable(
        fingerprint=fingerprint(grammar),
        patterns={str(t.name): t.pattern.to_regexp() for t in terminals},
        keywords=dict(sorted(words.items())),
        ignored=frozenset(map(str, lark.ignore_tokens)),
        rules=_table_rules(lark_rules),
        states=tuple(
            {
                symbol: order[target] if is_shift else -numbers[target] - 1
                for symbol, (is_shift, target) in sorted(rows[state].items())
            }
            for state in order
        ),
        start=order[conf.start_state],
        end=order[conf.end_state],
    )


def _state_order(rows: dict[Any, dict[str, tuple[bool, Any]]], start: object) -> dict[Any, int]:
    """Return the number of each state, in the order in which they are reached; Lark's own numbers vary."""
    order = {start: 0}
    queue = [start]
    for state in queue:
        for _symbol, (is_shift, target) in sorted(rows[state].items(), key=lambda entry: entry[0]):
            if is_shift and target not in order:
                order[target] = len(order)
                queue.append(target)
    return order


def _table_rules(lark_rules: list[Any]) -> tuple[Rule, ...]:
    is_collected = {
        rule.origin.name
        for rule in lark_rules
        if rule.origin.name.startswith("__") or (rule.origin.name.startswith("_") and len(rule.expansion) > 1)
    }
    rules = []
    for rule in lark_rules:
        origin, size = str(rule.origin.name), len(rule.expansion)
        if size == 1 and not origin.startswith("__") and (rule.options.expand1 or origin.startswith("_")):
            reduction = Reduction.PASS
        else:
            reduction = Reduction.COLLECT if origin.startswith("_") else Reduction.BUILD
        has_collected = any(symbol.name in is_collected for symbol in rule.expansion)
        rules.append(Rule(origin=origin, size=size, reduction=reduction, has_collected=has_collected))
    return tuple(rules)


def main() -> None:
    """Write the table of the grammar beside it."""
    folder = resource_dir("grammar")
    table = build_table((folder / GRAMMAR_FILE).read_text("utf-8"))
    unfinished = folder / (TABLE_FILE + ".new")
    unfinished.write_text(table.to_json(), "utf-8")
    unfinished.replace(folder / TABLE_FILE)
    sys.stdout.write(f"{folder / TABLE_FILE}: {len(table.states)} states, {len(table.rules)} rules\n")


if __name__ == "__main__":
    main()
