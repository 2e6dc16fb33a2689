"""The device under test, and networks loaded on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from benchmarks.gpu_check.driver import Driver, Kernel
from bnncc._resources import resource_dir
from bnncc.ir.kernel import KernelProgram
from bnncc.runtime.cuda import CudaExecutable, CudaSession
from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.targets.cuda.device import DEVICES, device_for
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import planned
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import ARCHITECTURES, CudaCompiler, DeviceImage, compile_cuda

POISON = 0xA5
KERNELS: Final = Path(__file__).parent / "kernels"
HEADERS: Final = ("bnncc_bmma.cuh", "bnncc_wgmma.cuh", "bnncc_grid.cuh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A session, and the compiler that makes code for its device."""

    session: CudaSession
    compiler: CudaCompiler
    arch: str

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """Return the tiers that this device can run without emulated instructions, and the choice between."""
        if device_for(self.arch, self.session.device.capability) is None:
            return (Tier.AUTO, Tier.POPC)
        return tuple(tier for tier in Tier if tier.runs_on(DEVICES[self.arch]))

    def load(
        self,
        program: KernelProgram,
        target: CudaTarget | None = None,
        *,
        poison: int | None = None,
        at_once: int | None = None,
    ) -> CudaExecutable:
        """Return ``program`` on the device, with the kernels and forms of weights of ``target``."""
        wanted = CudaTarget() if target is None else target
        own = planned(program.graph, wanted)
        artifact = wanted.emit(own)
        return self.session.load(artifact, own.blob(), [self.image(artifact)], poison=poison, at_once=at_once)

    def compile(self, program: KernelProgram, target: CudaTarget) -> None:
        """Put machine code for the device into the build cache: what `load` does first."""
        self.image(target.emit(planned(program.graph, target)))

    def image(self, artifact: CudaArtifact) -> DeviceImage:
        """Return machine code for the device, or PTX where its architecture is newer than all known."""
        kind = "cubin" if self.is_native else "ptx"
        return compile_cuda(
            self.compiler, artifact.source.text, self.arch, kind, cache=BuildCache.default(), has_lines=True
        )

    @property
    def is_native(self) -> bool:
        """Return whether machine code for ``arch`` runs on the device."""
        return architecture_for(self.session.device.capability)[1]


def architecture_for(capability: tuple[int, int]) -> tuple[str, bool]:
    """Return the architecture to compile for, and whether its machine code (not only PTX) runs there."""
    number = capability[0] * 10 + capability[1]
    numbers = {arch: int(arch.removeprefix("sm_").rstrip("a")) for arch in ARCHITECTURES}
    exact = [arch for arch, known in numbers.items() if known == number]
    if exact:
        return exact[0], True
    plain = [arch for arch, known in numbers.items() if known < number and not arch.endswith("a")]
    same = [arch for arch in plain if numbers[arch] // 10 == capability[0]]
    return (same[-1], True) if same else (plain[-1] if plain else ARCHITECTURES[0], False)


class Machine:
    """One device, for the kernels of the checks themselves and for networks.

    Args:
        index: of the device, as the driver counts.
        compiler: nvcc or NVRTC.
    """

    def __init__(self, index: int, compiler: CudaCompiler) -> None:
        self.index, self.compiler = index, compiler

    @cached_property
    def driver(self) -> Driver:
        """Return the driver, its context current."""
        return Driver(self.index)

    @cached_property
    def arch(self) -> str:
        """Return the architecture to compile for."""
        return architecture_for(self.driver.capability)[0]

    @property
    def has_clusters(self) -> bool:
        """Return whether blocks can be launched in clusters, and launches begin early."""
        return self.driver.capability >= (9, 0)

    def kernels(self, source: str, *names: str) -> dict[str, Kernel]:
        """Return kernels of one of the files in ``kernels``, compiled and loaded."""
        image = compile_cuda(
            self.compiler, kernel_source(source), self.arch, "cubin", cache=BuildCache.default()
        )
        return self.driver.kernels(image.data, *names)

    @contextmanager
    def bench(self) -> Iterator[Bench]:
        """Open a session of the runtime."""
        with CudaSession(self.index) as session:
            arch = architecture_for(session.device.capability)[0]
            yield Bench(session=session, compiler=self.compiler, arch=arch)


def kernel_source(name: str) -> str:
    """Return the text of ``kernels/<name>.cu``, after the headers that it uses."""
    text = (KERNELS / f"{name}.cu").read_text(encoding="utf-8")
    include = resource_dir("templates") / "include"
    used = [header for header in HEADERS if header in text]
    return "".join((include / header).read_text(encoding="utf-8") for header in used) + text
