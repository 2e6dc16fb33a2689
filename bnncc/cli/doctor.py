"""``doctor``: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from bnncc._version import __version__
from bnncc.cli.options import Json
from bnncc.cli.talk import emit, emit_json, out
from bnncc.diagnostics import PlatformError

if TYPE_CHECKING:
    from bnncc.toolchain.cuda_driver import DriverDevice

_GPU_USE: Final = "running on a GPU"


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
        emit_json({"bnncc": __version__, "findings": rows, "driver": _driver_row()})
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
    yield _tool("nvcc", _nvcc, "PTX and cubins, where NVRTC is not there", is_needed=False)
    yield _tool("NVRTC", _nvrtc, "PTX and cubins (.cu files need none)", is_needed=False)
    yield _tool("nvdisasm", _nvdisasm, "machine code in reports", is_needed=False)
    yield _module("torch", "training", "pip install 'bnncc[train]'")
    yield _module(
        "sklearn", "the data set 'digits'", "pip install 'bnncc[train]'", distribution="scikit-learn"
    )
    yield _module("pycuda", "running on a GPU", "pip install 'bnncc[cuda]'")
    yield _module(
        "cuda.bindings",
        "graphs and cooperative launches on a GPU",
        "pip install 'bnncc[cuda]'",
        distribution="cuda-bindings",
    )
    yield from _driver_findings()
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


def _nvcc() -> str:
    from bnncc.toolchain.nvcc import find_nvcc

    if (found := find_nvcc()) is None:
        raise PlatformError("pip install nvidia-cuda-nvcc, or install the CUDA toolkit")
    return f"{found.version}, {found.program}"


def _nvrtc() -> str:
    from bnncc.toolchain.nvrtc import find_nvrtc

    if (found := find_nvrtc()) is None:
        raise PlatformError("pip install 'bnncc[nvrtc]'")
    return f"{found.version}, {found.path}"


def _nvdisasm() -> str:
    from bnncc.toolchain.sass import find_nvdisasm

    return str(find_nvdisasm())


def _driver_findings() -> Iterator[Finding]:
    """Yield the driver and every device; the stand-in of the tests counts as no GPU."""
    from bnncc.toolchain.cuda_driver import find_driver

    try:
        driver = find_driver()
    except PlatformError as error:
        yield Finding(what="GPU", state=State.OPTIONAL, found=str(error), needed_for=_GPU_USE)
        return
    if driver.is_emulated:
        names = ", ".join(device.name for device in driver.devices)
        found = (
            f"none: the libcuda.so.1 that is loaded has no GPU behind it, its devices are emulated ({names})"
        )
        yield Finding(what="GPU", state=State.OPTIONAL, found=found, needed_for=_GPU_USE)
        return
    yield Finding(
        what="NVIDIA driver", state=State.GOOD, found=f"up to CUDA {driver.release}", needed_for=_GPU_USE
    )
    for index, device in enumerate(driver.devices):
        yield Finding(what=f"GPU {index}", state=State.GOOD, found=_device_text(device), needed_for=_GPU_USE)


def _device_text(device: DriverDevice) -> str:
    major, minor = device.capability
    gib = device.memory_bytes / 2**30
    return f"{device.name}, sm_{major}{minor}, {device.multiprocessors} multiprocessors, {gib:.1f} GiB"


def _driver_row() -> dict[str, object] | None:
    """Return the driver and its devices as JSON has them; None where there is none."""
    from bnncc.toolchain.cuda_driver import find_driver

    try:
        return asdict(find_driver())
    except PlatformError:
        return None


def _module(name: str, needed_for: str, how: str, distribution: str | None = None) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        is_there = find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package it would lie in
        is_there = False
    if not is_there:
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
