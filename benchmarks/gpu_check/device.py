"""The device under test, and networks loaded on it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bnncc.ir.kernel import KernelProgram
from bnncc.runtime.cuda import CudaExecutable, CudaSession
from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.targets.cuda.device import DEVICES, device_for
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import ARCHITECTURES, CudaCompiler, DeviceImage, compile_cuda

POISON = 0xA5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A session, and the compiler that makes code for its device."""

    session: CudaSession
    compiler: CudaCompiler
    arch: str

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """Return the tiers that this device can run without emulated instructions, and the choice between."""
        has_bmma = device_for(self.arch, self.session.device.capability) is not None
        has_bmma = has_bmma and DEVICES[self.arch].b1_form is not None
        return (Tier.AUTO, Tier.POPC, Tier.BMMA) if has_bmma else (Tier.AUTO, Tier.POPC)

    def load(
        self, program: KernelProgram, tier: Tier = Tier.AUTO, *, poison: int | None = None
    ) -> CudaExecutable:
        """Return ``program`` on the device, its binary layers in ``tier``."""
        artifact = CudaTarget(tier=tier).emit(program)
        return self.session.load(artifact, program.blob(), [self.image(artifact)], poison=poison)

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

    def environment(self) -> dict[str, object]:
        """Return what a reader must know about this machine."""
        device = self.session.device
        return {
            "device": device.name,
            "capability": f"{device.capability[0]}.{device.capability[1]}",
            "multiprocessors": device.multiprocessors,
            "memory_mib": device.memory_bytes >> 20,
            "driver": device.driver_version,
            "compiler": self.compiler.identity.splitlines()[0].split(" /")[0],
            "arch": self.arch,
            "pycuda": _version("pycuda"),
            "bnncc": _version("bnncc"),
        }


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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
