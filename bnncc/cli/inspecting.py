"""``inspect``: any stage of a package, as text."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bnncc.cli.options import PackageFile
from bnncc.cli.talk import emit, has_colors, out
from bnncc.diagnostics import DataError

if TYPE_CHECKING:
    from bnncc.codegen.package import Package


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Use")(inspect)


class View(StrEnum):
    """A stage of the compiler."""

    DSL = "dsl"
    IR = "ir"
    NN = "nn"
    BIT = "bit"
    KERNEL = "kernel"
    C = "c"
    CUDA = "cuda"
    PTX = "ptx"
    MANIFEST = "manifest"
    REPORT = "report"


_LEXERS = {View.C: "c", View.CUDA: "cuda", View.PTX: "ptx", View.MANIFEST: "json", View.REPORT: "json"}


def inspect(
    package: PackageFile,
    view: Annotated[View, typer.Option(help="Which stage; 'ir' is nn, bit and kernel.")] = View.MANIFEST,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="Only what concerns this layer.")] = None,
    target: Annotated[str, typer.Option(help="Of bit and kernel: c or cuda.")] = "c",
    arch: Annotated[str | None, typer.Option(help="Of PTX: sm_80, ...; the first one by default.")] = None,
) -> None:
    """Print a stage of a package: plain text when piped, highlighted on a terminal."""
    from bnncc.codegen.package import Package

    found = Package.load(package)
    text = "\n".join(_texts(found, view, target, arch))
    if layer is not None:
        text = only_layer(text, layer)
    if not text.strip():
        raise DataError(
            f"'{package}' has nothing to show for '{view.value}'" + (f", layer '{layer}'" if layer else "")
        )
    _show(text, _LEXERS.get(view, "text"))


def _texts(package: Package, view: View, target: str, arch: str | None) -> Iterator[str]:
    from bnncc.codegen.package import NN_IR, REPORT

    match view:
        case View.DSL:
            yield from (f"# {source.name}\n{source.text}" for source in package.sources)
        case View.NN:
            yield package.text(NN_IR)
        case View.BIT | View.KERNEL:
            yield _lowered(package, view, target)
        case View.IR:
            yield f"# nn\n{package.text(NN_IR)}"
            yield f"# bit, for {target}\n{_lowered(package, View.BIT, target)}"
            yield f"# kernel, for {target}\n{_lowered(package, View.KERNEL, target)}"
        case View.C | View.CUDA:
            info = package.manifest.target(view.value)
            yield from (package.text(name) for name in (info.sources if info else ()))
        case View.PTX:
            yield from _ptx(package, arch)
        case View.REPORT:
            yield package.text(REPORT)
        case View.MANIFEST:
            yield package.manifest.to_json().decode()


def _lowered(package: Package, view: View, target: str) -> str:
    """Return the bit or the kernel level for ``target``, made again from the IR inside."""
    from bnncc.ir.text import print_graph
    from bnncc.passes.pipeline import lower_network
    from bnncc.runtime.contents import graph_of
    from bnncc.targets.c.forms import MACHINES, machines_called
    from bnncc.targets.c.target import CTarget
    from bnncc.targets.cuda.target import CudaTarget
    from bnncc.targets.lowering import lower_for

    graph = lower_network(graph_of(package))
    if target == "cuda":
        lowered = lower_for(graph, CudaTarget())
    else:
        info = package.manifest.target("c")
        march = "generic" if info is None else info.options.get("march", "generic")
        machine = (machines_called(march) or (MACHINES["generic"],))[0]
        lowered = lower_for(graph, CTarget.for_machine(machine))
    return print_graph(lowered.bit) if view is View.BIT else print_graph(lowered.program.graph)


def _ptx(package: Package, arch: str | None) -> Iterator[str]:
    names = package.names("ptx/")
    if arch is not None:
        names = tuple(name for name in names if arch in name)
    if not names:
        raise DataError(f"'{package.label}' holds no PTX; compile it where nvcc or NVRTC is (bnncc doctor)")
    yield package.text(names[0])


def only_layer(text: str, layer: str) -> str:
    """Return the parts of ``text`` that name ``layer``: functions of source code, lines of IR.

    A part is a run of lines between empty lines at the top level: a function with its comment.
    """
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(layer)}(?![A-Za-z0-9])")
    if text.lstrip().startswith(("graph ", "# nn")):
        return "\n".join(line for line in text.splitlines() if word.search(line))
    return "\n\n".join(part for part in _parts(text) if word.search(part))


def _parts(text: str) -> Iterator[str]:
    """Yield the top-level pieces of C-like source: up to an empty line outside of braces."""
    piece: list[str] = []
    depth = 0
    for line in text.splitlines():
        depth += line.count("{") - line.count("}")
        if line.strip() or depth > 0:
            piece.append(line)
        elif piece:
            yield "\n".join(piece)
            piece = []
    if piece:
        yield "\n".join(piece)


def _show(text: str, lexer: str) -> None:
    if not (sys.stdout.isatty() and has_colors()):
        emit(text.rstrip("\n"))
        return
    from rich.syntax import Syntax

    out().print(Syntax(text, lexer, theme="ansi_dark", background_color="default", word_wrap=True))
