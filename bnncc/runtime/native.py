"""Running the C target: build with the host's compiler, load with ctypes, call without copying."""

from __future__ import annotations

import ctypes
import platform
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache as memoized
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError, InternalError, PlatformError
from bnncc.runtime.executable import NUMPY_DTYPES, Array
from bnncc.runtime.threads import Team, parts_of, thread_count
from bnncc.targets.c.artifact import ABI_VERSION, ALIGN_BYTES, CArtifact, CPort
from bnncc.targets.c.forms import (
    DISPATCH,
    MACHINES,
    CForm,
    CMachine,
    joined_names,
    machine_of_macros,
    machines_called,
    macro_names,
)
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import HostCompiler, HostCompilerError, find_c_compiler, run_compiler

NATIVE: Final = "native"
ANY_FORM: Final = "dispatch"
_FLAGS: Final = ("-std=c11", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror")
_ERRORS: Final = {
    1: "a pointer is NULL",
    2: "weights or workspace are not aligned",
    3: "this processor lacks instructions that the code was compiled for",
    4: "it has no kernels of that form",
}

Bytes = npt.NDArray[np.uint8]


def machine_named(name: str, compiler: HostCompiler | None = None) -> CMachine:
    """Return the machine that ``--march`` names; ``native`` is this one, by what its compiler says.

    Raises:
        PlatformError: there is no machine of that name, or no compiler to ask.
    """
    if name == NATIVE:
        return host_machine(compiler or find_c_compiler())
    if name not in MACHINES:
        choices = ", ".join((NATIVE, ANY_FORM, *MACHINES))
        raise PlatformError(
            f"the C target knows no machine '{name}'; choose {choices}, or several of the last ones"
        )
    return MACHINES[name]


def machines_named(march: str, compiler: HostCompiler | None = None) -> tuple[CMachine, ...]:
    """Return the machines that ``--march`` names: several make one library that chooses when it runs.

    Raises:
        PlatformError: there is no machine of that name, or they do not go together, or no compiler to ask.
    """
    if march == ANY_FORM:
        macros = macro_names(_macros(compiler or find_c_compiler()))
        lists = [names for architecture, names in DISPATCH.items() if f"__{architecture}__" in macros]
        march = lists[0] if lists else "generic"
    machines = tuple(machine_named(name.strip(), compiler) for name in march.split(","))
    if machines_called(joined_names(machines)) != machines:
        raise PlatformError(f"'--march {march}' names a form of the kernels twice")
    if len({machine.form.architecture for machine in machines} - {None}) > 1:
        raise PlatformError(f"'--march {march}' names machines of different architectures")
    return machines


@memoized
def host_machine(compiler: HostCompiler) -> CMachine:
    """Return the best machine whose instructions this one has; ``generic`` where the compiler cannot tell."""
    try:
        return machine_of_macros(_macros(compiler, ("-march=native",)))
    except HostCompilerError:
        return machine_of_macros(_macros(compiler))


@memoized
def _macros(compiler: HostCompiler, flags: tuple[str, ...] = ()) -> str:
    """Return the macros that the compiler defines, as text."""
    with tempfile.TemporaryDirectory(prefix="bnncc-") as folder:
        (Path(folder) / "empty.c").write_text("", encoding="utf-8")
        run_compiler(
            compiler, (*compiler.spelled(flags), "-dM", "-E", "empty.c", "-o", "macros.txt"), cwd=Path(folder)
        )
        return (Path(folder) / "macros.txt").read_text(encoding="utf-8")


def _for_forms(forms: tuple[CForm, ...], compiler: HostCompiler) -> HostCompiler:
    """Return the compiler making code for ``forms``.

    Raises:
        PlatformError: it makes none.
    """
    wanted = next((form.architecture for form in forms if form.architecture is not None), None)
    if wanted is None or wanted == platform.machine():
        return compiler
    chosen = compiler.for_architecture(wanted)
    if f"__{wanted}__" not in macro_names(_macros(chosen)):
        raise PlatformError(
            f"the compiler '{compiler.command[0]}' makes no code for {wanted}: set CC to one that does "
            f"(Debian: apt install gcc-{wanted.replace('_', '-')}-linux-gnu), or use --cc zig"
        )
    return chosen


def build_library(
    artifact: CArtifact,
    compiler: HostCompiler | None = None,
    cache: BuildCache | None = None,
    extra_flags: tuple[str, ...] = (),
) -> Path:
    """Return the shared library of ``artifact``, from the cache where it is there.

    Raises:
        PlatformError: there is no compiler, or it makes no code for the machine of ``artifact``.
        HostCompilerError: the generated source does not compile.
    """
    sources = tuple((item.name, item.text) for item in artifact.files)
    flags = (*_FLAGS, *artifact.flags, *extra_flags)
    found = _for_forms(artifact.forms, compiler or find_c_compiler())
    return (cache or BuildCache.default()).shared_library(
        found, sources, flags, name="model.so", own_flags=dict(artifact.own_flags)
    )


@dataclass(frozen=True, kw_only=True)
class NativeExecutable:
    """A network as a loaded C library; ``run`` may be called from many threads at once."""

    artifact: CArtifact
    _library: ctypes.CDLL
    _weights: Bytes
    _team: Team
    _workspaces: deque[Bytes] = field(default_factory=deque)

    @staticmethod
    def load(
        artifact: CArtifact,
        blob: bytes,
        *,
        compiler: HostCompiler | None = None,
        cache: BuildCache | None = None,
        library: Path | None = None,
        threads: int | None = None,
        form: CForm | None = None,
    ) -> NativeExecutable:
        """Return ``artifact`` compiled and loaded.

        Args:
            artifact: of the C target.
            blob: the weights, as ``KernelProgram.blob`` gives them.
            compiler: that builds; None for the host's.
            cache: of built libraries; None for the user's.
            library: built before from this artifact: no compiler is needed then.
            threads: that share the work, at most; None for ``BNNCC_NUM_THREADS``, else one a physical core.
            form: of the kernels, for a library with several; None for the best that this processor runs.

        Raises:
            PlatformError: there is no compiler, the library does not load here, ``threads`` is below 1,
                or this processor cannot run ``form``.
            DataError: the blob or the library is not that of the artifact.
        """
        path = library or build_library(artifact, compiler, cache)
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError as error:
            raise PlatformError(f"cannot load the compiled network '{path}': {error}") from error
        _declare(loaded, artifact, path)
        status = getattr(loaded, f"{artifact.prefix}_init")(None if form is None else form.value.encode())
        if status != 0:
            raise PlatformError(
                f"the compiled network '{artifact.network}' cannot run here: {_ERRORS[status]}"
            )
        if len(blob) != artifact.weights_bytes:
            raise DataError(f"the weights have {len(blob)} bytes, the network needs {artifact.weights_bytes}")
        weights = _aligned(len(blob))
        weights[: len(blob)] = np.frombuffer(blob, np.uint8)
        team = Team(threads=thread_count(threads), library=loaded)
        return NativeExecutable(artifact=artifact, _library=loaded, _weights=weights, _team=team)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name; the inputs are read where they are.

        Threads share each layer with enough work, also that of one image; any number gives the same bits.

        Raises:
            DataError: an input is missing, or has the wrong type, shape or strides.
            PlatformError: this processor cannot run the code.
        """
        images = self._check(inputs)
        outputs = {
            port.name: np.empty((images, *port.shape), NUMPY_DTYPES[port.elem.value])
            for port in self.artifact.outputs
        }
        arrays = [inputs[port.name] for port in self.artifact.inputs]
        arrays += [outputs[port.name] for port in self.artifact.outputs]
        with self._team.borrowed(parts_of(images, self.artifact.work_per_image, self._team.threads)) as pool:
            self._call(arrays, images, pool)
        return outputs

    @property
    def form(self) -> CForm:
        """Return the form of the kernels that runs use."""
        name: bytes = self._symbol("form")()
        return CForm(name.decode())

    def close(self) -> None:
        """End the threads and free the workspaces; the library stays loaded, as ctypes cannot unload it."""
        self._team.close()
        self._workspaces.clear()

    def _call(self, arrays: list[Array], images: int, pool: int | None) -> None:
        """Run inputs and outputs, in the order of the arguments, with the threads of ``pool``."""
        parts = 1 if pool is None else self._team.threads
        workspace = self._take_workspace(self.artifact.parallel_workspace_bytes(images, parts))
        try:
            status = self._symbol("run_parallel")(
                self._weights.ctypes.data,
                *(array.ctypes.data for array in arrays),
                images,
                workspace.ctypes.data,
                parts,
                self._team.for_each,
                pool,
            )
        finally:
            self._workspaces.append(workspace)
        if status != 0:
            reason = _ERRORS.get(status, f"error {status}")
            raise PlatformError(f"the compiled network '{self.artifact.network}' refused to run: {reason}")

    def _symbol(self, name: str) -> Any:  # noqa: ANN401 - ctypes functions have no useful type
        return getattr(self._library, f"{self.artifact.prefix}_{name}")

    def _check(self, inputs: Mapping[str, Array]) -> int:
        """Return the number of images."""
        wanted = [port.name for port in self.artifact.inputs]
        if sorted(inputs) != sorted(wanted):
            raise DataError(
                f"the network takes the inputs {', '.join(wanted)}; given: {', '.join(inputs) or 'none'}"
            )
        counts = {_checked(inputs[port.name], port) for port in self.artifact.inputs}
        if len(counts) != 1:
            raise DataError(
                f"the inputs differ in the number of images: {', '.join(map(str, sorted(counts)))}"
            )
        return counts.pop()

    def _take_workspace(self, needed: int) -> Bytes:
        """Return memory for a run, used before or new; it goes back to ``_workspaces``."""
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            return _aligned(needed)
        return workspace if len(workspace) >= needed else _aligned(needed)


def _checked(array: Array, port: CPort) -> int:
    """Return the number of images of an input."""
    dtype = NUMPY_DTYPES[port.elem.value]
    shape = f"[N, {', '.join(map(str, port.shape))}]"
    if array.dtype != dtype:
        raise DataError(f"input '{port.name}' is {array.dtype}, the network takes {dtype}")
    if array.shape[1:] != port.shape or array.ndim != len(port.shape) + 1:
        raise DataError(f"input '{port.name}' has shape {list(array.shape)}, the network takes {shape}")
    if not array.flags.c_contiguous or not array.flags.aligned:
        raise DataError(
            f"input '{port.name}' is not contiguous in memory; pass np.ascontiguousarray({port.name})"
        )
    return int(array.shape[0])


def _declare(library: ctypes.CDLL, artifact: CArtifact, path: Path) -> None:
    """Set the types of the functions, and check that the library is the artifact's."""

    def function(name: str) -> Any:  # noqa: ANN401 - ctypes functions have no useful type
        try:
            return getattr(library, f"{artifact.prefix}_{name}")
        except AttributeError as error:
            raise DataError(f"'{path}' is not a compiled form of network '{artifact.network}'") from error

    # First, as a library of another version may lack the other functions.
    version = function("abi_version")()
    if version != ABI_VERSION:
        raise DataError(f"'{path}' has ABI version {version}; this bnncc calls version {ABI_VERSION}")
    run, sizes = function("run_parallel"), [function(f"{name}_size") for name in ("weights", "workspace")]
    function("init").argtypes, function("form").restype = [ctypes.c_char_p], ctypes.c_char_p
    pointers = [ctypes.c_void_p] * (len(artifact.inputs) + len(artifact.outputs))
    shared = [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
    run.argtypes = [ctypes.c_void_p, *pointers, ctypes.c_size_t, ctypes.c_void_p, *shared]
    run.restype = ctypes.c_int
    for size, arguments in zip(sizes, ([], [ctypes.c_size_t]), strict=True):
        size.argtypes, size.restype = arguments, ctypes.c_size_t
    if sizes[0]() != artifact.weights_bytes or sizes[1](1) != artifact.workspace_bytes(1):
        raise InternalError(f"'{path}' and its description differ in the size of weights or workspace")


def _aligned(size_bytes: int) -> Bytes:
    """Return memory whose first byte is aligned as the generated code demands; never empty, so it has one."""
    kept_bytes = max(size_bytes, ALIGN_BYTES)
    memory = np.empty(kept_bytes + ALIGN_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGN_BYTES
    return memory[start : start + kept_bytes]
