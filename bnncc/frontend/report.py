"""What has been found wrong so far, each mistake once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from bnncc.diagnostics import CompileError, Diagnostic, Note, Span

MAX_CONTEXT: Final = 4
MAX_DIAGNOSTICS: Final = 100


class Report:
    """Collects diagnostics; a block applied ten times with one mistake in it reports it once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Span, str, str], Diagnostic] = {}
        self._context: list[Note] = []

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was wrong."""
        return not self._found

    def add(self, *diagnostics: Diagnostic) -> None:
        """Add what was found, with the applications of blocks that led there."""
        for diagnostic in diagnostics:
            key = (diagnostic.code, diagnostic.span, diagnostic.headline, diagnostic.label)
            if key not in self._found and len(self._found) < MAX_DIAGNOSTICS:
                context = tuple(reversed(self._context[-MAX_CONTEXT:]))
                self._found[key] = replace(diagnostic, context=context)

    @contextmanager
    def within(self, span: Span, text: str) -> Iterator[None]:
        """Say of everything found meanwhile that it was reached from ``span``."""
        self._context.append(Note(span, text))
        try:
            yield
        finally:
            self._context.pop()

    def raise_if_any(self) -> None:
        """Raise if anything was wrong.

        Raises:
            CompileError: with everything, in the order of the source.
        """
        if self._found:
            ordered = sorted(self._found.values(), key=lambda d: (d.span.source.name, d.span.start))
            raise CompileError(tuple(ordered))
