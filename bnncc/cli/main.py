"""The ``bnncc`` command: its groups, and what every failure turns into."""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from bnncc._version import __version__
from bnncc.cli.options import DiagnosticsFormat
from bnncc.cli.talk import fail, say, show_compile_error
from bnncc.diagnostics import BnnccError, CompileError, InternalError

EXIT_INTERRUPTED = 130
REPORT_TO = "Please report it with the command, the file and this text."


class _Commands(TyperGroup):
    """The commands; every failure ends in a message and the exit code of its kind."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own types differ between typer's releases
        """Run the command; turn what it raises into an exit code."""
        try:
            return super().invoke(ctx)
        except CompileError as error:
            show_compile_error(error, as_json=ctx.obj is DiagnosticsFormat.JSON)
            raise typer.Exit(error.exit_code) from error
        except InternalError as error:
            fail(f"internal error: {error}")
            say(REPORT_TO)
            raise typer.Exit(error.exit_code) from error
        except BnnccError as error:
            fail(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            say("interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
            raise typer.Exit(4) from error


# The module below `bnncc.cli` that registers each command.
MODULES: Final[Mapping[str, str]] = {
    "new": "language",
    "check": "language",
    "fmt": "language",
    "summary": "language",
    "train": "training",
    "report": "reporting",
    "eval": "running",
    "compile": "building",
    "passes": "building",
    "run": "running",
    "verify": "running",
    "inspect": "inspecting",
    "bench": "measuring",
    "tune": "tuning",
    "devices": "devices",
    "doctor": "doctor",
}


def make_app(command: str | None = None) -> typer.Typer:
    """Return the command line; with ``command``, only its group, so that `bnncc check` starts at once."""
    app = typer.Typer(
        name="bnncc",
        cls=_Commands,
        help="A compiler for binarized neural networks: one .bnn file to trained bits and fused kernels.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    everything = list(dict.fromkeys(MODULES.values()))
    wanted = [MODULES[command]] if command is not None and command in MODULES else everything
    for name in wanted:
        import_module(f"bnncc.cli.{name}").register(app)
    return app


def _print_version(value: bool) -> None:  # noqa: FBT001 - the signature typer calls
    if value:
        typer.echo(f"bnncc {__version__}")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Collect options that come before the command."""


def main() -> None:
    """Run the command line; a fault of our own ends with exit code 70 and a traceback."""
    try:
        make_app(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="bnncc")
    except Exception as error:  # noqa: BLE001 - the last line of defence, allowed here only
        import traceback

        traceback.print_exc(file=sys.stderr)
        fail(f"internal error: {type(error).__name__}: {error}")
        say(REPORT_TO)
        sys.exit(InternalError.exit_code)
