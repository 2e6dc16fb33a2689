"""``report``: one HTML page about a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnncc.cli.talk import say
from bnncc.diagnostics import PlatformError

PAGE = "report.html"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Train")(report)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training run.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.html", help="The page; RUN/report.html.")
    ] = None,
) -> None:
    """Write one page about a run: curves, latent weights, unique kernels, memory, energy."""
    from bnncc._files import write_atomically
    from bnncc.training.report import read_run, report_html

    found = read_run(run)
    try:
        page = report_html(found)
    except ModuleNotFoundError as error:
        raise PlatformError(f"a report needs '{error.name}': pip install 'bnncc[train]'") from error
    place = output or run / PAGE
    write_atomically(place, page)
    say(f"wrote {place}")
