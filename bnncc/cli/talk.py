"""What the command line says: data to stdout, talk to stderr, colours only where they belong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from bnncc.diagnostics import CompileError, Diagnostic

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_COLUMNS: Final = 200


def out() -> Console:
    """Return the console of results (stdout)."""
    return _console(sys.stdout)


def err() -> Console:
    """Return the console of talk (stderr)."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # Where nobody looks at a terminal, lines are as long as their content needs.
    return Console(file=stream, highlight=False, width=None if stream.isatty() else _PIPE_COLUMNS)


def has_colors(*, is_error: bool = False) -> bool:
    """Return whether colours belong on stdout (or stderr)."""
    from bnncc.diagnostics.render import wants_color

    return wants_color(sys.stderr if is_error else sys.stdout, os.environ)


def say(text: str) -> None:
    """Write a line of talk."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is where the command line prints


def warn(text: str) -> None:
    """Write a warning."""
    _labelled("warning", "bold yellow", text)


def fail(text: str) -> None:
    """Write an error that has no place in a source."""
    _labelled("error", "bold red", text)


def emit(text: str) -> None:
    """Write a line of data."""
    print(text, flush=True)  # noqa: T201 - this is where the command line prints


def emit_json(content: Mapping[str, Any]) -> None:
    """Write one line of JSON."""
    emit(json.dumps(content))


def show_diagnostics(diagnostics: tuple[Diagnostic, ...], *, as_json: bool) -> None:
    """Write diagnostics: JSON to stdout, text for people to stderr."""
    from bnncc.diagnostics.render import render_json, render_rich, render_text

    if as_json:
        emit(render_json(diagnostics))
    elif has_colors(is_error=True):
        err().print(render_rich(diagnostics), end="", soft_wrap=True)
    else:
        sys.stderr.write(render_text(diagnostics))


def show_compile_error(error: CompileError, *, as_json: bool) -> None:
    """Write every diagnostic of ``error``, and how many errors there are."""
    show_diagnostics(error.diagnostics, as_json=as_json)
    if not as_json:
        count = len(error.diagnostics)
        say(f"{count} error{'' if count == 1 else 's'}")


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a job is while the block runs: on a terminal only, on stderr; yields what advances it."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.advance(task, count)


def _labelled(label: str, style: str, text: str) -> None:
    if has_colors(is_error=True):
        from rich.text import Text

        err().print(Text.assemble((label, style), f": {text}"), soft_wrap=True)
    else:
        say(f"{label}: {text}")
