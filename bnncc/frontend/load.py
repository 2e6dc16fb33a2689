"""From a file to its network: the file, what it includes, its graph and its train block."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from bnncc._files import read_bytes
from bnncc.diagnostics import CompileError, Position, Source, Span
from bnncc.frontend import ast
from bnncc.frontend.elaborate import Overrides, elaborate
from bnncc.frontend.errors.files import (
    IncludeCycle,
    IncludeHoldsMore,
    IncludeNotFound,
    NoNetwork,
    SeveralInFile,
)
from bnncc.frontend.errors.names import BadOverride
from bnncc.frontend.parse import MAX_SOURCE_CHARACTERS, parse_bytes
from bnncc.frontend.report import Report
from bnncc.frontend.train_block import train_spec
from bnncc.ir.nn import NnGraph
from bnncc.ir.train_spec import TrainSpec

MAX_INCLUDE_DEPTH: Final = 16
MAX_INCLUDES: Final = 256

Read = Callable[[str], bytes]
"""Returns the content of a file by its name; raises OSError where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elaborated:
    """A network, read and checked.

    Args:
        graph: its operations, weights unbound.
        train: how it is trained; the defaults where the file has no train block.
        sources: its file, then those included, each once, in the order in which they are included.
        has_train_block: whether the file says how it is trained.
    """

    graph: NnGraph
    train: TrainSpec
    sources: tuple[Source, ...]
    has_train_block: bool


def load_network(path: Path, overrides: Overrides | None = None) -> Elaborated:
    """Return the network in the file ``path``; ``overrides`` (``-D``) replace defaults of its parameters.

    Raises:
        CompileError: with every error that was found.
        DataError: the file cannot be read.
    """
    return _load(path.as_posix(), read_bytes(path, "network"), overrides or {}, _read_include)


def load_text(
    text: str,
    name: str,
    overrides: Overrides | None = None,
    includes: Mapping[str, str] | None = None,
) -> Elaborated:
    """Return the network in ``text``; what it includes is in ``includes``, nothing is read from the disk.

    Raises:
        CompileError: with every error that was found.
    """
    files = dict(includes or {})

    def read(wanted: str) -> bytes:
        if wanted not in files:
            raise FileNotFoundError(2, "there is no such file", wanted)
        return files[wanted].encode()

    return _load(name, text.encode("utf-8", errors="surrogatepass"), overrides or {}, read)


def read_source(path: Path) -> str:
    """Return the text of the file ``path``.

    Raises:
        CompileError: E0112 if it is not UTF-8.
        DataError: it cannot be read.
    """
    return parse_bytes(read_bytes(path, "network"), path.as_posix()).span.source.text


def parse_overrides(texts: Sequence[str]) -> dict[str, Fraction | str]:
    """Return the parameters set by texts such as ``width=64``: numbers, or words.

    Raises:
        CompileError: E0318.
    """
    found: dict[str, Fraction | str] = {}
    problems = []
    for text in texts:
        match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*=\s*(\S+)\s*", text, re.ASCII)
        value = None if match is None else _override(match[2])
        if match is None or value is None:
            source = Source("-D", text)
            span = Span(source, Position(1, 1), Position(1, len(text) + 1))
            problems.append(BadOverride(span=span, text=text))
        else:
            found[match[1]] = value
    if problems:
        raise CompileError(tuple(problems))
    return found


def _override(text: str) -> Fraction | str | None:
    if re.fullmatch(
        r"[+-]?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?|[+-]?\d{1,40}/[1-9]\d{0,39}", text, re.ASCII
    ):
        return Fraction(text)
    return text if re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) else None


def _read_include(name: str) -> bytes:
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file", name)
    with path.open("rb") as stream:
        return stream.read(4 * MAX_SOURCE_CHARACTERS + 1)


def _load(name: str, content: bytes, overrides: Overrides, read: Read) -> Elaborated:
    report = Report()
    main = parse_bytes(content, name)
    files = _Files(main, read, report)
    files.include_all(main, (name,))
    network, train = _network_of(main, report)
    # Unknown blocks of a file that could not be read would be errors twice.
    report.raise_if_any()
    assert network is not None
    graph = elaborate(network, files.blocks(), overrides, report)
    spec = TrainSpec() if train is None else train_spec(train, report)
    report.raise_if_any()
    return Elaborated(graph=graph, train=spec, sources=files.sources(), has_train_block=train is not None)


def _network_of(main: ast.File, report: Report) -> tuple[ast.Network | None, ast.Train | None]:
    """Return the network and the train block of a file; a missing network or a second one is reported."""
    networks = [item for item in main.items if isinstance(item, ast.Network)]
    trains = [item for item in main.items if isinstance(item, ast.Train)]
    for network in networks[1:]:
        report.add(SeveralInFile(span=network.name.span, what="network", first=networks[0].name.span))
    for train in trains[1:]:
        report.add(SeveralInFile(span=_keyword(train), what="train", first=_keyword(trains[0])))
    if not networks:
        start = Position(1, 1)
        report.add(NoNetwork(span=Span(main.span.source, start, start)))
    return (networks[0] if networks else None, trains[0] if trains else None)


def _keyword(item: ast.Train | ast.Network) -> Span:
    """Return the span of the word that begins ``item``."""
    start = item.span.start
    word = "train" if isinstance(item, ast.Train) else "network"
    return Span(item.span.source, start, Position(start.line, start.column + len(word)))


class _Files:
    """The file of a network and those that it includes, each read once."""

    def __init__(self, main: ast.File, read: Read, report: Report) -> None:
        self._read = read
        self._report = report
        self._files = {main.span.source.name: main}

    def blocks(self) -> tuple[ast.Block, ...]:
        """Return the blocks of all files."""
        return tuple(
            item for file in self._files.values() for item in file.items if isinstance(item, ast.Block)
        )

    def sources(self) -> tuple[Source, ...]:
        """Return the texts of all files, the network's first."""
        return tuple(file.span.source for file in self._files.values())

    def include_all(self, file: ast.File, chain: tuple[str, ...]) -> None:
        """Read what ``file`` includes; ``chain`` names the files that led to it, and it."""
        for item in file.items:
            if isinstance(item, ast.Include):
                self._include(item, chain)

    def _include(self, include: ast.Include, chain: tuple[str, ...]) -> None:
        span, written = include.path.span, include.path.content
        name = posixpath.normpath(posixpath.join(posixpath.dirname(chain[-1]), written))
        if name in chain or len(chain) > MAX_INCLUDE_DEPTH or len(self._files) > MAX_INCLUDES:
            self._report.add(IncludeCycle(span=span, chain=(*chain, name)))
            return
        if name in self._files:
            return
        fault = _fault_of(written)
        content = b""
        if not fault:
            try:
                content = self._read(name)
            except (OSError, ValueError) as error:  # ValueError: a name that no file can have
                fault = getattr(error, "strerror", None) or "it cannot be read"
        if fault:
            self._report.add(IncludeNotFound(span=span, looked_for=name, reason=fault))
        else:
            self._add(content, name, include, chain)

    def _add(self, content: bytes, name: str, include: ast.Include, chain: tuple[str, ...]) -> None:
        try:
            file = parse_bytes(content, name)
        except CompileError as error:
            with self._report.within(include.span, "included here"):
                self._report.add(*error.diagnostics)
            return
        self._files[name] = file
        for item in file.items:
            if isinstance(item, ast.Network | ast.Train):
                what = "network" if isinstance(item, ast.Network) else "train"
                self._report.add(IncludeHoldsMore(span=_keyword(item), what=what, included=include.span))
        self.include_all(file, (*chain, name))


def _fault_of(written: str) -> str:
    """Return why ``written`` cannot name an included file; empty where it can."""
    if not written.endswith(".bnn"):
        return "its name does not end in '.bnn'"
    if written.startswith("/") or "\\" in written or ":" in written:
        return "its name is not relative to this file, with '/' between folders"
    return ""
