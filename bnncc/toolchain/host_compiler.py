"""Find a C or C++ compiler of this machine and run it, without a shell."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from bnncc.diagnostics import InternalError, PlatformError

CompilerKind = Literal["gcc", "clang", "zig"]

ZIG: Final = "zig"
_ZIG_FLAGS: Final = MappingProxyType(
    {
        "-march=x86-64-v2": "-mcpu=x86_64_v2",
        "-march=x86-64-v3": "-mcpu=x86_64_v3",
        "-march=x86-64-v4": "-mcpu=x86_64_v4",
        "-march=armv8-a+sve": "-mcpu=generic+sve",
    }
)
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

    def spelled(self, flags: Sequence[str]) -> tuple[str, ...]:
        """Return ``flags`` as this compiler calls them: zig has other names of processors."""
        return tuple(_ZIG_FLAGS.get(flag, flag) for flag in flags) if self.kind == "zig" else tuple(flags)

    def for_architecture(self, architecture: str) -> HostCompiler:
        """Return it making code for Linux on ``architecture`` (of ``uname -m``); only zig can choose."""
        if self.kind != "zig" or architecture == platform.machine() or "-target" in self.command:
            return self
        return replace(self, command=(*self.command, "-target", f"{architecture}-linux-gnu"))

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


def find_c_compiler(
    environment: Mapping[str, str] | None = None, *, command: str | None = None
) -> HostCompiler:
    """Return the C compiler to use: ``$CC``, cc, gcc, clang, else the ``ziglang`` package's.

    Args:
        environment: with ``CC`` and ``PATH``; None for that of this process.
        command: of one compiler, instead of looking for any; ``zig`` is the ``ziglang`` package's.

    Raises:
        PlatformError: none of them answers; a ``$CC`` or ``command`` that does not work is never passed over.
    """
    if command is not None:
        return _named(command)
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
    compiler: HostCompiler,
    sources: Sequence[Path],
    flags: Sequence[str],
    *,
    output: Path,
    own_flags: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Write the shared library ``output`` from ``sources``; ``flags`` come before them, ``-l`` after.

    ``own_flags`` are additional ones of single files, by name: such files are compiled one by one.

    Raises:
        HostCompilerError: the sources do not compile.
    """
    before = [*compiler.spelled([flag for flag in flags if not flag.startswith("-l")])]
    after = [flag for flag in flags if flag.startswith("-l")]
    names = [
        str(_compiled(compiler, source, [*before, *compiler.spelled(own_flags[source.name])], output.parent))
        if source.name in own_flags
        else str(source)
        for source in sources
    ]
    arguments = [*before, "-fPIC", "-shared", "-o", str(output), *names, *after]
    run_compiler(compiler, arguments, cwd=output.parent)


def _compiled(compiler: HostCompiler, source: Path, flags: Sequence[str], folder: Path) -> Path:
    """Return the object file of ``source``, in ``folder``."""
    made = source.with_suffix(".o")
    run_compiler(compiler, [*flags, "-fPIC", "-c", str(source), "-o", str(made)], cwd=folder)
    return made


def _named(command: str) -> HostCompiler:
    words = tuple(shlex.split(command))
    if words == (ZIG,) and shutil.which(ZIG) is None:
        if find_spec("ziglang") is None:
            raise PlatformError("there is no zig here: pip install 'bnncc[zig]'")
        words = (sys.executable, "-m", "ziglang", "cc")
    elif words[:1] == (ZIG,):
        words = (ZIG, "cc", *words[1:]) if words[1:2] != ("cc",) else words
    found = _probe(words, is_cxx=False) if words else None
    if found is None:
        raise PlatformError(f"'{command}' does not answer --version as a C compiler")
    return found


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
