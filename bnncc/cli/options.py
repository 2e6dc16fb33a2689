"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class DiagnosticsFormat(StrEnum):
    """How errors in a ``.bnn`` file are written."""

    TEXT = "text"
    JSON = "json"


def _remember_format(context: typer.Context, value: DiagnosticsFormat) -> DiagnosticsFormat:
    # The error handler stands at the root, above the command that knows the option.
    context.find_root().obj = value
    return value


Diagnostics: TypeAlias = Annotated[
    DiagnosticsFormat,
    typer.Option("--diagnostics-format", callback=_remember_format, help="How errors are written."),
]
Model: TypeAlias = Annotated[Path, typer.Argument(metavar="MODEL.bnn", help="The network.")]
PackageFile: TypeAlias = Annotated[Path, typer.Argument(metavar="PKG", help="The package (.bnnpkg).")]
Define: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("-D", metavar="NAME=VALUE", help="Set a parameter of the network; may be repeated."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data: TypeAlias = Annotated[
    str,
    typer.Option(
        "--data", metavar="NAME|DIR", help="digits, mnist, fashion-mnist, cifar10, svhn or a folder."
    ),
]
DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", envvar="BNNCC_DATA", help="Where data sets lie on this machine."
    ),
]
Download: TypeAlias = Annotated[
    bool, typer.Option("--download/--no-download", help="Whether missing data sets are fetched.")
]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE|RUN", help="Weights (.safetensors), or the folder of a training run."
    ),
]
RunFuse: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--fuse",
        metavar="WHAT",
        help="auto, layer, persistent: a GPU launch a layer, or one; else as compiled.",
    ),
]
Trust: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust", help="Run the binaries inside the package where they cannot be built again here."
    ),
]
Seed: TypeAlias = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]


def parse_overrides(texts: Sequence[str] | None) -> dict[str, str]:
    """Return ``NAME=VALUE`` texts as a mapping.

    Raises:
        typer.BadParameter: a text has no ``=`` or no name, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise typer.BadParameter(f"'{text}' is not NAME=VALUE", param_hint="-D")
        if name.strip() in found:
            raise typer.BadParameter(f"'{name.strip()}' is set twice", param_hint="-D")
        found[name.strip()] = value.strip()
    return found


def parse_list(text: str, allowed: Sequence[str], option: str) -> tuple[str, ...]:
    """Return the comma-separated items of ``text``, each once, in the order given.

    Raises:
        typer.BadParameter: an item is not one of ``allowed`` (any item if that is empty).
    """
    items = tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    unknown = [item for item in items if allowed and item not in allowed]
    if unknown or not items:
        what = f"'{unknown[0]}' is unknown" if unknown else "nothing is named"
        choices = f"; choose from {', '.join(allowed)}" if allowed else ""
        raise typer.BadParameter(f"{what}{choices}", param_hint=option)
    return items
