"""The ways a package can run here: each regenerates its program from the IR inside."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from bnncc.codegen.package import Package
from bnncc.diagnostics import DataError, PlatformError
from bnncc.ir.nn import NnGraph
from bnncc.ir.reference import evaluate_nn
from bnncc.passes.pipeline import lower_network
from bnncc.runtime.builds import emit_c, emit_cuda, library_entry
from bnncc.runtime.cuda import CudaExecutable, CudaSession, list_devices
from bnncc.runtime.executable import Array, Executable
from bnncc.runtime.native import NATIVE, NativeExecutable, machine_named
from bnncc.targets.c.artifact import CArtifact
from bnncc.targets.c.cut import NetworkCut, network_cut
from bnncc.targets.c.forms import machines_called
from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.measured import measured_uses
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.cuda.wgmma_sizes import WGMMA_ARCH
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import ARCHITECTURES, CudaCompiler, DeviceImage, compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.host_compiler import find_c_compiler


class Backend(StrEnum):
    """Where a network runs.

    ``REF``: NumPy, the judge. ``C``: the generated C on this CPU. ``CUDA``: the generated kernels on a GPU.
    ``EMULATOR``: the generated kernels, executed on the CPU.
    """

    REF = "ref"
    C = "c"
    CUDA = "cuda"
    EMULATOR = "emulator"


@dataclass(frozen=True, slots=True)
class Reference:
    """The meaning of the network, in NumPy."""

    graph: NnGraph

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of the network by name."""
        return evaluate_nn(self.graph, inputs)

    def close(self) -> None:
        """Free nothing."""


def choose_backend(name: Backend | str) -> Backend:
    """Return the backend called ``name``; ``auto`` is a GPU, else a C compiler, else the reference.

    Raises:
        DataError: there is no backend of that name.
    """
    if name != "auto":
        if name not in tuple(Backend):
            raise DataError(f"there is no backend '{name}'; choose auto, {', '.join(Backend)}")
        return Backend(name)
    if _has_gpu():
        return Backend.CUDA
    try:
        find_c_compiler()
    except PlatformError:
        return Backend.REF
    return Backend.C


def _has_gpu() -> bool:
    try:
        return bool(list_devices())
    except PlatformError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a package runs.

    Args:
        trust: whether binaries of the package may run where they cannot be built again.
        threads: of the C backend; None for its default.
        device: index of the GPU.
        graph: whether runs that come again are replayed as CUDA graphs.
        fuse: what a launch on a GPU is; None: as the package was compiled.
    """

    trust: bool = False
    threads: int | None = None
    device: int = 0
    graph: bool = True
    fuse: Fuse | None = None


def open_backend(
    backend: Backend, package: Package, graph: NnGraph, options: RunOptions
) -> Executable | DeviceExecutable:
    """Return ``package`` loaded on ``backend``.

    Args:
        backend: where it runs.
        package: for binaries, where there is no compiler.
        graph: of the package.
        options: how it runs.

    Raises:
        PlatformError: this machine lacks something; says what.
    """
    match backend:
        case Backend.REF:
            return Reference(graph)
        case Backend.C:
            return _open_c(package, graph, trust=options.trust, threads=options.threads)
        case Backend.CUDA:
            return _open_cuda(package, graph, options)
        case Backend.EMULATOR:
            return _open_emulator(package, graph, options)
        case _:
            assert_never(backend)


def _open_c(package: Package, graph: NnGraph, *, trust: bool, threads: int | None) -> Executable:
    lowered = lower_network(graph)
    try:
        compiler = find_c_compiler()
    except PlatformError:
        return _open_library_inside(package, graph, trust=trust, threads=threads)
    artifact, blob = emit_c(lowered, (machine_named(NATIVE, compiler),), _cut_of(package))
    return NativeExecutable.load(artifact, blob, compiler=compiler, threads=threads)


def _open_library_inside(package: Package, graph: NnGraph, *, trust: bool, threads: int | None) -> Executable:
    """Return the library of the package: it is code of whoever made the package."""
    info = package.manifest.target("c")
    machines = machines_called("" if info is None else info.options.get("march", ""))
    if not machines or library_entry(machines) not in package.entries:
        raise PlatformError(
            "there is no C compiler here, and the package holds no library for this machine "
            "(bnncc doctor says how to get a compiler)"
        )
    if not trust:
        raise PlatformError(
            "there is no C compiler here to build the network again. The library inside the package is code "
            "of whoever made it; to run it nevertheless, say --trust (trust=True in Python)"
        )
    artifact, blob = emit_c(lower_network(graph), machines, _cut_of(package))
    return _load_library(artifact, blob, package.entry(library_entry(machines)), threads)


def _cut_of(package: Package) -> NetworkCut:
    """Return how the C of ``package`` is cut."""
    info = package.manifest.target("c")
    return NetworkCut() if info is None else network_cut(info.options)


def _load_library(artifact: CArtifact, blob: bytes, content: bytes, threads: int | None) -> Executable:
    with tempfile.TemporaryDirectory(prefix="bnncc-") as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(content)
        # A loaded library stays mapped when its file is gone.
        return NativeExecutable.load(artifact, blob, library=path, threads=threads)


@dataclass(frozen=True, slots=True)
class DeviceExecutable:
    """A network on a GPU, and the session that holds its context."""

    session: CudaSession
    network: CudaExecutable

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of the network by name."""
        return self.network.run(inputs)

    def close(self) -> None:
        """Free the network, then the context."""
        self.network.close()
        self.session.close()


def _open_cuda(package: Package, graph: NnGraph, options: RunOptions) -> DeviceExecutable:
    session = CudaSession(options.device)
    try:
        artifact, program = emit_cuda(lower_network(graph), _cuda_target(package, options.fuse))
        images = _images_for(session.device.capability, artifact, package, trust=options.trust)
        network = session.load(artifact, program.blob(), images, graph=options.graph)
        return DeviceExecutable(session, network)
    except BaseException:
        session.close()
        raise


def _images_for(
    capability: tuple[int, int], artifact: CudaArtifact, package: Package, *, trust: bool
) -> tuple[DeviceImage, ...]:
    """Return code for a device: built here, or from the package where it is trusted."""
    try:
        compiler = find_cuda_compiler()
    except PlatformError as error:
        if trust:
            return _images_inside(package)
        raise PlatformError(
            f"{error}. The cubins and PTX inside the package are code of whoever made it; "
            "to run them nevertheless, say --trust (trust=True in Python)"
        ) from error
    return own_images(compiler, artifact, capability)


def own_images(
    compiler: CudaCompiler, artifact: CudaArtifact, capability: tuple[int, int]
) -> tuple[DeviceImage, ...]:
    """Return machine code for the device where it is known, else PTX of an older one."""
    cache = BuildCache.default()
    number = 10 * capability[0] + capability[1]
    by_number = {int(arch.removeprefix("sm_").rstrip("a")): arch for arch in ARCHITECTURES}
    if number in by_number:
        return (compile_cuda(compiler, artifact.source.text, by_number[number], "cubin", cache=cache),)
    # Code for one architecture only (sm_90a) runs on no other, so its PTX is no use here.
    older = [known for known, arch in by_number.items() if known < number and not arch.endswith("a")]
    if not older:
        raise PlatformError(f"no generated code runs on compute capability {capability[0]}.{capability[1]}")
    return (compile_cuda(compiler, artifact.source.text, by_number[max(older)], "ptx", cache=cache),)


def _images_inside(package: Package) -> tuple[DeviceImage, ...]:
    """Return the device code of the package: it is code of whoever made the package."""
    cubins = package.names("cubin/")
    return (
        *(DeviceImage(arch=Path(name).stem, kind="cubin", data=package.entry(name)) for name in cubins),
        *(
            DeviceImage(arch=Path(name).stem, kind="ptx", data=package.entry(name))
            for name in package.names("ptx/")
        ),
    )


def _cuda_target(package: Package, fused: Fuse | None) -> CudaTarget:
    """Return the target that the package was compiled with, launches as ``fused`` if it is given."""
    info = package.manifest.target("cuda")
    options = {} if info is None else info.options
    tier, fuse = options.get("tier", Tier.AUTO.value), options.get("fuse", Fuse.AUTO.value)
    if tier not in tuple(Tier):
        raise DataError(f"the package was compiled with tier '{tier}', which this version does not know")
    if fuse not in tuple(Fuse):
        raise DataError(f"the package was compiled with '--fuse {fuse}', which this version does not know")
    return CudaTarget(tier=Tier(tier), fuse=fused or Fuse(fuse), measured=measured_uses(options))


def _open_emulator(package: Package, graph: NnGraph, options: RunOptions) -> Executable:
    # The emulator is a room of its own, of which no other backend needs anything.
    from bnncc.runtime.emulated import EMULATED_ARCH, EmulatedExecutable

    target = _cuda_target(package, options.fuse)
    artifact, program = emit_cuda(lower_network(graph), target)
    arch = WGMMA_ARCH if target.tier.is_by_warpgroups else EMULATED_ARCH
    return EmulatedExecutable.load(artifact, program.blob(), arch=arch)
