"""``doctor``: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path

import typer

from bnncc._version import __version__
from bnncc.cli.options import Json
from bnncc.cli.talk import emit, emit_json, out
from bnncc.diagnostics import PlatformError


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Machine")(doctor)


class State(Enum):
    """Whether something is there; what is optional does not make the machine unfit."""

    GOOD = "good"
    OPTIONAL = "absent"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked for.

    Args:
        found: version and place, or how to get it.
        needed_for: what does not work without it.
    """

    what: str
    state: State
    found: str
    needed_for: str


def doctor(*, as_json: Json = False) -> None:
    """Show what is there, what is missing, and how to get it; exit 4 where nothing could run."""
    findings = tuple(_findings())
    if as_json:
        rows = [{**_row(item), "state": item.state.name.lower()} for item in findings]
        emit_json({"bnncc": __version__, "findings": rows})
    else:
        _show(findings)
    if any(item.state is State.MISSING for item in findings):
        raise typer.Exit(PlatformError.exit_code)


def _row(item: Finding) -> dict[str, str]:
    return {"what": item.what, "found": item.found, "needed_for": item.needed_for}


def _show(findings: tuple[Finding, ...]) -> None:
    from rich.text import Text

    styles = {State.GOOD: "green", State.OPTIONAL: "yellow", State.MISSING: "bold red"}
    width = max(len(item.what) for item in findings)
    console = out()
    for item in findings:
        mark = (item.state.value.ljust(8), styles[item.state])
        console.print(Text.assemble(mark, f"{item.what.ljust(width)}  {item.found}"), soft_wrap=True)
        if item.state is not State.GOOD:
            console.print(Text(f"{' ' * (width + 10)}needed for {item.needed_for}"), soft_wrap=True)
    if all(item.state is not State.MISSING for item in findings):
        emit("everything that is needed is here")


def _findings() -> Iterator[Finding]:
    yield Finding(
        what="bnncc",
        state=State.GOOD,
        found=f"{__version__}, {Path(__file__).parents[1]}",
        needed_for="everything",
    )
    yield Finding(
        what="python",
        state=State.GOOD,
        found=f"{platform.python_version()}, {sys.executable}",
        needed_for="everything",
    )
    yield _tool("C compiler", _c_compiler, "running networks on the CPU", is_needed=True)
    yield _tool("C++ compiler", _cxx_compiler, "executing CUDA kernels on the CPU", is_needed=False)
    yield _tool("CUDA compiler", _cuda_compiler, "PTX and cubins (.cu files need none)", is_needed=False)
    yield _module("torch", "training", "pip install 'bnncc[train]'")
    yield _module(
        "sklearn", "the data set 'digits'", "pip install 'bnncc[train]'", distribution="scikit-learn"
    )
    yield _module("pycuda", "running on a GPU", "pip install 'bnncc[cuda]'")
    yield _tool("GPU", _gpu, "running on a GPU", is_needed=False)
    yield _folder("data sets", _data_folder(), "training without downloads", "set BNNCC_DATA")
    yield _folder(
        "build cache",
        _cache_folder(),
        "not compiling twice",
        "made when needed",
    )


def _tool(what: str, look: Callable[[], str], needed_for: str, *, is_needed: bool) -> Finding:
    try:
        return Finding(what=what, state=State.GOOD, found=look(), needed_for=needed_for)
    except PlatformError as error:
        state = State.MISSING if is_needed else State.OPTIONAL
        return Finding(what=what, state=state, found=str(error), needed_for=needed_for)


def _c_compiler() -> str:
    from bnncc.toolchain.host_compiler import find_c_compiler

    found = find_c_compiler()
    return f"{found.version}, {' '.join(found.command)}"


def _cxx_compiler() -> str:
    from bnncc.toolchain.host_compiler import find_cxx_compiler

    found = find_cxx_compiler()
    return f"{found.version}, {' '.join(found.command)}"


def _cuda_compiler() -> str:
    from bnncc.toolchain.find_cuda import find_cuda_compiler

    compiler = find_cuda_compiler()
    return compiler.identity.split(":", 1)[0]


def _gpu() -> str:
    from bnncc.runtime.cuda import list_devices

    return "; ".join(
        f"{device.name}, sm_{device.capability[0]}{device.capability[1]}, {device.memory_bytes >> 30} GiB"
        for device in list_devices()
    )


def _module(name: str, needed_for: str, how: str, distribution: str | None = None) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    if find_spec(name) is None:
        return Finding(what=name, state=State.OPTIONAL, found=how, needed_for=needed_for)
    try:
        found = version(distribution or name)
    except PackageNotFoundError:
        found = "unknown version"
    return Finding(what=name, state=State.GOOD, found=found, needed_for=needed_for)


def _folder(what: str, path: Path | None, needed_for: str, how: str) -> Finding:
    if path is not None and path.is_dir():
        return Finding(what=what, state=State.GOOD, found=str(path), needed_for=needed_for)
    found = how if path is None else f"{path} is no folder; {how}"
    return Finding(what=what, state=State.OPTIONAL, found=found, needed_for=needed_for)


def _data_folder() -> Path | None:
    chosen = os.environ.get("BNNCC_DATA")
    return Path(chosen) if chosen else None


def _cache_folder() -> Path:
    from bnncc.toolchain.build_cache import default_cache_root

    return default_cache_root()
