"""``check``, ``fmt``, ``summary``, ``new``: what needs nothing but the source."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnncc.cli.options import Define, Diagnostics, DiagnosticsFormat, Json, Model
from bnncc.cli.talk import emit, emit_json, say

if TYPE_CHECKING:
    from bnncc.analysis.summary import LayerSummary, Summary
    from bnncc.diagnostics import Diagnostic

STDIN = Path("-")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel="Language")(check)
    app.command(rich_help_panel="Language")(fmt)
    app.command(rich_help_panel="Language")(summary)
    app.command(rich_help_panel="Language")(new)


def check(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.bnn...", help="The networks.")],
    define: Define = None,
    diagnostics: Diagnostics = DiagnosticsFormat.TEXT,
) -> None:
    """Report every error of a network: syntax, names, shapes, types, limits."""
    from bnncc.diagnostics import CompileError
    from bnncc.frontend.load import load_network
    from bnncc.frontend.load import parse_overrides as parse_values

    overrides = parse_values(define or ())
    found: list[Diagnostic] = []
    for model in models:
        try:
            load_network(model, overrides)
        except CompileError as error:
            found.extend(error.diagnostics)
        else:
            say(f"{model}: good")
    if found:
        raise CompileError(tuple(found))
    if diagnostics is DiagnosticsFormat.JSON:
        emit("[]")


def fmt(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.bnn...", help="The files; '-' is stdin.")],
    *,
    is_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file would change.")
    ] = False,
    diagnostics: Diagnostics = DiagnosticsFormat.TEXT,  # noqa: ARG001 - read by its callback
) -> None:
    """Lay out sources in the one canonical way; comments stay."""
    from bnncc._files import write_atomically
    from bnncc.frontend.format import format_text
    from bnncc.frontend.load import read_source

    changed = 0
    for model in models:
        text = sys.stdin.read() if model == STDIN else read_source(model)
        result = format_text(text, "<stdin>" if model == STDIN else str(model))
        if model == STDIN and not is_check:
            sys.stdout.write(result)
        elif result != text:
            changed += 1
            say(f"{'would change' if is_check else 'changed'}: {model}")
            if not is_check:
                write_atomically(model, result)
    if is_check and changed:
        raise typer.Exit(1)


def summary(
    model: Model,
    define: Define = None,
    *,
    as_json: Json = False,
    diagnostics: Diagnostics = DiagnosticsFormat.TEXT,  # noqa: ARG001 - read by its callback
) -> None:
    """Show every layer: shapes, 1-bit and 32-bit parameters, memory, binary and other operations."""
    from bnncc.analysis.summary import summarize
    from bnncc.frontend.load import load_network
    from bnncc.frontend.load import parse_overrides as parse_values

    found = summarize(load_network(model, parse_values(define or ())).graph)
    if as_json:
        emit_json(_as_json(found))
    else:
        emit(str(found))


def _as_json(summary: Summary) -> dict[str, Any]:
    def row(layer: LayerSummary) -> dict[str, Any]:
        return {
            "name": layer.name,
            "op": layer.op,
            "input_bits": layer.input_bits,
            "output": {"elem": layer.output.elem.value, "shape": list(layer.output.shape)},
            "binary_parameters": layer.binary_parameters,
            "real_parameters": layer.real_parameters,
            "memory_bytes": layer.memory_bytes,
            "binary_macs": layer.binary_macs,
            "other_macs": layer.other_macs,
        }

    return {
        "network": summary.name,
        "layers": [row(layer) for layer in summary.layers],
        "binary_parameters": summary.binary_parameters,
        "real_parameters": summary.real_parameters,
        "float_ops": dict(summary.float_ops),
        "memory_bytes": summary.memory_bytes,
        "float_memory_bytes": summary.float_memory_bytes,
        "binary_macs": summary.binary_macs,
        "other_macs": summary.other_macs,
    }


class Template(StrEnum):
    """What a new network starts as."""

    MLP = "mlp"
    CNN = "cnn"


_STARTERS = {Template.MLP: "digits.bnn", Template.CNN: "mnist_convnet.bnn"}


def new(
    name: Annotated[str, typer.Argument(help="The name of the network; NAME.bnn is written.")],
    template: Annotated[Template, typer.Option(help="mlp: dense layers; cnn: convolutions.")] = Template.MLP,
) -> None:
    """Write a small network to start from."""
    from bnncc._files import write_atomically
    from bnncc._resources import resource_dir

    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise typer.BadParameter(
            f"'{name}' is not a name: letters, digits and underscores", param_hint="NAME"
        )
    path = Path(f"{name}.bnn")
    if path.exists():
        raise typer.BadParameter(f"'{path}' is there already", param_hint="NAME")
    text = (resource_dir("examples") / _STARTERS[template]).read_text(encoding="utf-8")
    write_atomically(path, re.sub(r"^network \w+", f"network {name}", text, count=1, flags=re.MULTILINE))
    data = "digits" if template is Template.MLP else "mnist"
    emit(str(path))
    say(f"next: bnncc summary {path}\n      bnncc train {path} --data {data}\n      bnncc compile {path}")
