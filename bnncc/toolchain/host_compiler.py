"""Find a C or C++ compiler of this machine and run it, without a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from bnncc.diagnostics import InternalError, PlatformError

CompilerKind = Literal["gcc", "clang", "zig"]

_PROBE_TIMEOUT_S: Final = 60.0
_COMPILE_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class HostCompiler:
    """A compiler that answered ``--version``.

    Args:
        command: how to call it, e.g. ``("/usr/bin/gcc",)`` or ``(python, "-m", "ziglang", "cc")``.
        kind: the family, which decides the flags it understands.
        version: the first line of its ``--version``.
        is_cxx: whether it compiles C++.
    """

    command: tuple[str, ...]
    kind: CompilerKind
    version: str
    is_cxx: bool

    @property
    def path(self) -> Path:
        """Return the program that is started."""
        return Path(self.command[0])

    @cached_property
    def identity(self) -> str:
        """Return a text that changes when the compiler does; part of every cache key."""
        program = Path(shutil.which(self.command[0]) or self.command[0]).resolve()
        stamp = f"{program.stat().st_size}:{program.stat().st_mtime_ns}" if program.exists() else "?"
        return "\n".join((*self.command, str(program), stamp, self.kind, self.version))


class HostCompilerError(InternalError):
    """A generated source did not compile: carries the command and what the compiler said."""

    def __init__(self, command: Sequence[str], status: int, stderr: str) -> None:
        shown = stderr.strip()[-8000:] or "(it printed nothing)"
        super().__init__(f"the host compiler failed with status {status}\n$ {shlex.join(command)}\n{shown}")
        self.command = tuple(command)
        self.status = status
        self.stderr = stderr


def find_c_compiler(environment: Mapping[str, str] | None = None) -> HostCompiler:
    """Return the C compiler to use: ``$CC``, cc, gcc, clang, else the ``ziglang`` package's.

    Raises:
        PlatformError: none of them answers; a ``$CC`` that does not work is never passed over.
    """
    return _find("CC", ("cc", "gcc", "clang"), "cc", os.environ if environment is None else environment)


def find_cxx_compiler(environment: Mapping[str, str] | None = None) -> HostCompiler:
    """Return the C++ compiler to use: ``$CXX``, c++, g++, clang++, else the ``ziglang`` package's.

    Raises:
        PlatformError: none of them answers; a ``$CXX`` that does not work is never passed over.
    """
    return _find("CXX", ("c++", "g++", "clang++"), "c++", os.environ if environment is None else environment)


def run_compiler(
    compiler: HostCompiler, arguments: Sequence[str], *, cwd: Path, timeout_s: float = _COMPILE_TIMEOUT_S
) -> str:
    """Return what the compiler printed on stderr (its warnings) for ``arguments``, run in ``cwd``.

    Raises:
        HostCompilerError: it ended with a status other than 0.
        PlatformError: it could not be started or did not end in ``timeout_s``.
    """
    command = (*compiler.command, *arguments)
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except OSError as error:
        raise PlatformError(f"cannot start the compiler '{shlex.join(command)}': {error}") from error
    except subprocess.TimeoutExpired as error:
        raise PlatformError(
            f"the compiler did not end in {timeout_s:.0f} s: {shlex.join(command)}"
        ) from error
    if done.returncode != 0:
        raise HostCompilerError(command, done.returncode, done.stderr)
    return done.stderr


def compile_shared(
    compiler: HostCompiler, sources: Sequence[Path], flags: Sequence[str], *, output: Path
) -> None:
    """Write the shared library ``output`` from ``sources``; ``flags`` come before them, ``-l`` after.

    Raises:
        HostCompilerError: the sources do not compile.
    """
    before = [flag for flag in flags if not flag.startswith("-l")]
    after = [flag for flag in flags if flag.startswith("-l")]
    names = [str(source) for source in sources]
    arguments = [*before, "-fPIC", "-shared", "-o", str(output), *names, *after]
    run_compiler(compiler, arguments, cwd=output.parent)


def _find(variable: str, names: tuple[str, ...], zig: str, environment: Mapping[str, str]) -> HostCompiler:
    is_cxx = variable == "CXX"
    tried: list[str] = []
    if chosen := environment.get(variable, "").strip():
        found = _probe(tuple(shlex.split(chosen)), is_cxx=is_cxx)
        if found is None:
            raise PlatformError(f"${variable} is '{chosen}', which does not answer --version as a compiler")
        return found
    for command in _candidates(names, zig, environment, tried):
        if found := _probe(command, is_cxx=is_cxx):
            return found
    language = "C++" if is_cxx else "C"
    raise PlatformError(
        f"no {language} compiler found; looked for ${variable}, {', '.join(tried)}. "
        f"Install gcc or clang (Debian: apt install {'g++' if is_cxx else 'gcc'}), "
        "or 'pip install ziglang', which brings one."
    )


def _candidates(
    names: tuple[str, ...], zig: str, environment: Mapping[str, str], tried: list[str]
) -> Iterator[tuple[str, ...]]:
    search = environment.get("PATH")
    for name in names:
        tried.append(name)
        if program := shutil.which(name, path=search):
            yield (program,)
    tried.append(f"python -m ziglang {zig}")
    if find_spec("ziglang") is not None:
        yield (sys.executable, "-m", "ziglang", zig)


def _probe(command: tuple[str, ...], *, is_cxx: bool) -> HostCompiler | None:
    try:
        done = subprocess.run(
            (*command, "--version"),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0 or not done.stdout.strip():
        return None
    return HostCompiler(
        command=command, kind=_kind(command, done.stdout), version=done.stdout.splitlines()[0], is_cxx=is_cxx
    )


def _kind(command: tuple[str, ...], version: str) -> CompilerKind:
    if "ziglang" in command or Path(command[0]).name.startswith("zig"):
        return "zig"
    return "clang" if "clang" in version.lower() else "gcc"
