"""From PTX text to loadable libraries, through the build cache."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bnncc.emulator.ptx.parser import parse_module
from bnncc.emulator.translate.module import translate_module
from bnncc.toolchain.build_cache import BuildCache, cache_key
from bnncc.toolchain.host_compiler import HostCompiler, compile_shared, run_compiler

_ROOM: Final = Path(__file__).resolve().parent
_RUNTIME: Final = _ROOM / "runtime"
# Signed overflow wraps and floats are rounded after every operation, as on the device.
_FLAGS: Final = (
    "-std=c++17",
    "-fwrapv",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fno-exceptions",
    "-fno-rtti",
    "-w",
)
_LIBRARY: Final = "module.so"
_DESCRIPTION: Final = "module.json"


@dataclass(frozen=True, slots=True)
class BuiltModule:
    """Two shared libraries and the description of the kernels."""

    runtime: Path
    library: Path
    description: dict[str, Any]  # any: plain JSON, see translate/module.py


def build_module(text: str, name: str, cache: BuildCache, compiler: HostCompiler) -> BuiltModule:
    """Return ``text`` translated and compiled.

    Raises:
        PtxError: PTX that is not understood.
    """
    runtime = _build_runtime(cache, compiler)
    key = cache_key("emulator-module", _fingerprint(), compiler.identity, *_machine_flags(), name, text)

    def build(folder: Path) -> None:
        done = translate_module(parse_module(text, name))
        (folder / "module.cpp").write_text(done.text, encoding="utf-8")
        (folder / _DESCRIPTION).write_text(json.dumps(done.description), encoding="utf-8")
        flags = ("-O1", *_FLAGS, *_machine_flags(), f"-I{_RUNTIME}")
        compile_shared(compiler, [Path("module.cpp")], flags, output=folder / _LIBRARY)

    folder = cache.get_or_build(key, build)
    description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    return BuiltModule(runtime, folder / _LIBRARY, description)


def _build_runtime(cache: BuildCache, compiler: HostCompiler) -> Path:
    key = cache_key("emulator-runtime", _fingerprint(), compiler.identity, *_machine_flags())

    def build(folder: Path) -> None:
        common = (*_FLAGS, *_machine_flags(), "-fPIC", f"-I{_RUNTIME}")
        # Only the file that changes the rounding mode pays for -frounding-math.
        run_compiler(
            compiler,
            [*common, "-O1", "-frounding-math", "-c", str(_RUNTIME / "rounding.cpp"), "-o", "rounding.o"],
            cwd=folder,
        )
        sources = [path for path in sorted(_RUNTIME.glob("*.cpp")) if path.name != "rounding.cpp"]
        compile_shared(
            compiler, [*sources, Path("rounding.o")], ("-O2", *common, "-lm"), output=folder / "runtime.so"
        )
        (folder / "rounding.o").unlink()

    return cache.get_or_build(key, build) / "runtime.so"


def _machine_flags() -> tuple[str, ...]:
    return ("-mpopcnt",) if platform.machine() in ("x86_64", "AMD64") else ()


def _files() -> Iterator[Path]:
    for pattern in ("ptx/*.py", "translate/*.py", "runtime/*.h", "runtime/*.cpp"):
        yield from sorted(_ROOM.glob(pattern))


def _fingerprint() -> str:
    """Return a hash of everything that decides what a module is translated to."""
    return cache_key(*(path.read_bytes() for path in _files()))
