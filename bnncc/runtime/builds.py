"""What each target adds to a package: generated sources, binaries where a compiler is here, a report."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from bnncc.codegen.manifest import TargetInfo
from bnncc.diagnostics import PlatformError
from bnncc.ir.bit import BitGraph
from bnncc.ir.graph import const_refs
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.text import print_graph
from bnncc.runtime.native import NATIVE, build_library, machines_named
from bnncc.runtime.tuning.apply import TunedC, tuned_c, tuned_cuda
from bnncc.targets.c.artifact import CArtifact
from bnncc.targets.c.cut import NetworkCut
from bnncc.targets.c.dispatch import Part, emit_dispatch
from bnncc.targets.c.forms import MACHINES, CMachine, joined_names
from bnncc.targets.c.target import CTarget
from bnncc.targets.cuda.artifact import CudaArtifact, Launch, PersistentLaunch
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import Lowered, Observe, ignore, lower_for
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import CudaCompiler, DeviceImage, compile_cuda, known_arch
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.gate import BlockShape, kernel_occupancy
from bnncc.toolchain.host_compiler import HostCompiler, find_c_compiler

DEFAULT_ARCHS: Final = ("sm_80", "sm_90a")
"""Their PTX runs on every GPU from Ampere on; name ``sm_75`` for Turing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One target's part of a package.

    Args:
        info: for the manifest.
        entries: files of the package.
        stages: hash of the text of each stage, ``c.kernel``.
        report: one row a kernel, for ``report.json``.
        memory: what the code needs besides itself, in bytes by name; nothing where that depends on the batch.
    """

    info: TargetInfo
    entries: Mapping[str, bytes]
    stages: Mapping[str, str]
    report: tuple[Mapping[str, Any], ...]
    memory: Mapping[str, int]


def emit_c(
    graph: BitGraph, machines: tuple[CMachine, ...], cut: NetworkCut | None = None
) -> tuple[CArtifact, bytes]:
    """Return the C of a lowered network for ``machines``, cut as ``cut`` says, and its weights."""
    return _emitted(_lowered(graph, machines, ignore), machines, cut or NetworkCut())


def _lowered(graph: BitGraph, machines: tuple[CMachine, ...], observe: Observe) -> tuple[Lowered, ...]:
    """Return the programs of a network for each machine; the first one's passes are observed."""
    return tuple(
        lower_for(graph, CTarget.for_machine(machine), observe if index == 0 else ignore)
        for index, machine in enumerate(machines)
    )


def _emitted(
    lowered: tuple[Lowered, ...], machines: tuple[CMachine, ...], cut: NetworkCut
) -> tuple[CArtifact, bytes]:
    programs = tuple(item.program for item in lowered)
    if len(machines) == 1:
        return replace(CTarget.for_machine(machines[0]), cut=cut).emit(programs[0]), programs[0].blob()
    parts = zip(machines, programs, strict=True)
    return emit_dispatch(tuple(Part(machine=machine, program=program) for machine, program in parts))


def emit_cuda(
    graph: BitGraph, target: CudaTarget, observe: Observe = ignore
) -> tuple[CudaArtifact, KernelProgram]:
    """Return the CUDA of a lowered network as ``target`` makes it, and the program it was made of."""
    lowered = lower_for(graph, target, observe)
    return target.emit(lowered.program), lowered.program


@dataclass(frozen=True, slots=True, kw_only=True)
class CBuild:
    """A network as C, not compiled yet."""

    lowered: Lowered
    artifact: CArtifact
    machines: tuple[CMachine, ...]
    compiler: HostCompiler | None
    missing: tuple[str, ...]
    tuned: TunedC

    def build(self) -> Built:
        """Return the C target's part; without a C compiler it lacks the library."""
        sources = {f"src/{item.name}": item.text.encode() for item in self.artifact.files}
        binaries: dict[str, bytes] = {}
        missing = list(self.missing)
        try:
            library = build_library(self.artifact, self.compiler)
            binaries[library_entry(self.machines)] = library.read_bytes()
        except PlatformError as error:
            missing.append(f"no library, only its source: {error}")
        program = self.lowered.program
        return Built(
            info=TargetInfo(
                name="c",
                options={
                    "march": joined_names(self.machines),
                    "form": ",".join(form.value for form in self.artifact.forms),
                    **self.tuned.options,
                },
                sources=tuple(sources),
                binaries=tuple(binaries),
                missing=tuple(missing),
            ),
            entries={**sources, **binaries},
            stages=_stages("c", self.lowered, sources),
            report=tuple(
                {
                    **_row(program, kernel.value, kernel.symbol, str(kernel.span)),
                    **self.tuned.row(kernel.value),
                }
                for kernel in self.artifact.kernels
            ),
            memory={
                "weights_bytes": self.artifact.weights_bytes,
                "workspace_bytes_of_1": self.artifact.workspace_bytes(1),
                "workspace_bytes_of_any": self.artifact.workspace_bytes(self.artifact.chunk_images),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaBuild:
    """A network as CUDA, not compiled yet."""

    lowered: Lowered
    artifact: CudaArtifact
    archs: tuple[str, ...]
    target: CudaTarget

    def build(self) -> Built:
        """Return the CUDA target's part; without a CUDA compiler it lacks PTX and cubins."""
        sources = {f"src/{item.name}": item.text.encode() for item in self.artifact.files}
        images: tuple[DeviceImage, ...] = ()
        missing: list[str] = []
        try:
            images = _device_images(find_cuda_compiler(), self.artifact, self.archs)
        except PlatformError as error:
            missing.append(f"no PTX and cubins for {', '.join(self.archs)}, only the source: {error}")
        binaries = {f"{image.kind}/{image.arch}.{image.kind}": image.data for image in images}
        return Built(
            info=TargetInfo(
                name="cuda",
                options={"arch": ",".join(self.archs), **cuda_options(self.target)},
                sources=tuple(sources),
                binaries=tuple(binaries),
                missing=tuple(missing),
            ),
            entries={**sources, **binaries},
            stages=_stages("cuda", self.lowered, sources),
            memory={},
            report=(
                *(
                    {
                        **_row(self.lowered.program, launch.node, launch.kernel, launch.origin),
                        "threads": launch.geometry.threads,
                        "tier": launch.tier,
                        "chosen": _chosen(self.artifact, launch, self.archs),
                        "archs": _resources(images, launch.kernel, launch.block_shape),
                    }
                    for launch in self.artifact.all_launches
                ),
                *(
                    {
                        **_whole_row(self.artifact, launch, self.archs),
                        "archs": _resources(images, launch.kernel, launch.block_shape),
                    }
                    for launch in self.artifact.persistent
                ),
            ),
        )


def prepare_c(
    graph: BitGraph,
    march: str,
    observe: Observe = ignore,
    cc: str | None = None,
    *,
    is_tuned: bool = False,
) -> CBuild:
    """Return a lowered network as C for the machines called ``march``, to be compiled with ``cc``.

    Where ``is_tuned`` it is cut as measurements on this machine say.

    Raises:
        PlatformError: there is no machine of that name, or no compiler ``cc``.
    """
    missing: tuple[str, ...] = ()
    compiler = None if cc is None else find_c_compiler(command=cc)
    try:
        machines = machines_named(march, compiler)
    except PlatformError as error:
        if march != NATIVE:
            raise
        missing = (f"the C is for any machine, since this one cannot be asked: {error}",)
        machines = (MACHINES["generic"],)
    lowered = _lowered(graph, machines, observe)
    tuned = tuned_c(lowered[0].program, machines, compiler) if is_tuned else TunedC()
    artifact, _ = _emitted(lowered, machines, tuned.cut)
    return CBuild(
        lowered=lowered[0],
        artifact=artifact,
        machines=machines,
        compiler=compiler,
        missing=missing,
        tuned=tuned,
    )


def prepare_cuda(
    graph: BitGraph,
    archs: tuple[str, ...] | None,
    target: CudaTarget,
    observe: Observe = ignore,
    *,
    is_tuned: bool = False,
) -> CudaBuild:
    """Return a lowered network as CUDA for the architectures ``archs`` (None: `DEFAULT_ARCHS`).

    Where ``is_tuned`` tiers are chosen as measurements on GPUs of this machine say.

    Raises:
        PlatformError: an architecture is unknown, or lacks the instructions of the tier.
    """
    wanted = tuple(dict.fromkeys(known_arch(arch) for arch in archs or DEFAULT_ARCHS))
    if without := [arch for arch in wanted if not target.tier.runs_on(DEVICES[arch])]:
        raise PlatformError(
            f"tier '{target.tier}' cannot be had on {', '.join(without)}: tensor cores multiply no single "
            "bits there, or not by warpgroups. Use --tier auto"
        )
    lowered = lower_for(graph, target, observe)
    if is_tuned:
        target = replace(target, measured=tuned_cuda(lowered.program, wanted))
    return CudaBuild(lowered=lowered, artifact=target.emit(lowered.program), archs=wanted, target=target)


def cuda_options(target: CudaTarget) -> dict[str, str]:
    """Return what the manifest says of ``target``: enough to make the same source again."""
    return {"tier": target.tier.value, "fuse": target.fuse.value, **target.measured.to_texts()}


def library_entry(machines: tuple[CMachine, ...]) -> str:
    """Return the entry of the library for ``machines`` on this operating system."""
    named = (machine.form.architecture for machine in machines)
    architecture = next((name for name in named if name is not None), platform.machine().lower())
    name = "+".join(machine.name for machine in machines)
    return f"bin/{platform.system().lower()}-{architecture}-{name}.so"


def _device_images(
    compiler: CudaCompiler, artifact: CudaArtifact, archs: tuple[str, ...]
) -> tuple[DeviceImage, ...]:
    """Return PTX and machine code for each architecture, of one compilation; they run side by side."""
    cache = BuildCache.default()

    def made(arch: str) -> DeviceImage:
        return compile_cuda(compiler, artifact.source.text, arch, "cubin", cache=cache)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return tuple(image for cubin in pool.map(made, archs) for image in cubin.with_ptx)


def _resources(images: tuple[DeviceImage, ...], kernel: str, shape: BlockShape) -> dict[str, dict[str, Any]]:
    """Return what the assembler said about ``kernel``, by architecture."""
    found: dict[str, dict[str, Any]] = {}
    for report in (report for image in images for report in image.reports if report.kernel == kernel):
        resident = kernel_occupancy(report, shape)
        found[report.arch] = {
            "registers": report.registers,
            "shared_bytes": report.shared_bytes + shape.dynamic_shared_bytes,
            "stack_bytes": report.stack_bytes,
            "spill_bytes": report.spill_store_bytes + report.spill_load_bytes,
            "blocks": resident.blocks,
            "warps": resident.warps,
            "max_warps": resident.max_warps,
            "limiter": resident.limiter.value,
        }
    return found


def _chosen(artifact: CudaArtifact, launch: Launch, archs: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Return for which batches ``launch`` runs and why, by architecture; nothing where there is no choice."""
    uses = dict(artifact.tier_uses).get(launch.node, ())
    is_variant = launch not in artifact.launches
    found: dict[str, dict[str, str]] = {}
    for arch in dict.fromkeys(use.arch for use in uses if use.arch in archs):
        here = [use for use in uses if use.arch == arch and (not is_variant or use.tier == launch.tier)]
        starts = [use.from_images for use in here if use.from_images is not None]
        if not starts:
            batches = "never" if is_variant else "always"
        elif is_variant:
            batches = f"from {_images(min(starts))}"
        else:
            batches = f"below {_images(min(starts))}" if min(starts) > 1 else "never"
        reason = "; ".join(f"{use.tier}: {use.reason}" for use in here)
        found[arch] = {"batches": batches, "reason": reason}
    return found


def _whole_row(artifact: CudaArtifact, launch: PersistentLaunch, archs: tuple[str, ...]) -> dict[str, Any]:
    """Return the row of a kernel of the whole network: for which batches it runs, and why."""
    chosen = {
        use.arch: {
            "batches": "always" if use.to_images is None else f"up to {_images(use.to_images)}",
            "reason": use.reason,
        }
        for use in artifact.fuse_uses
        if use.kernel == launch.kernel and use.arch in archs
    }
    return {
        "layer": "all layers",
        "op": "Persistent",
        "kernel": launch.kernel,
        "origin": launch.origin,
        "result": ", ".join(str(output.value.type) for output in artifact.outputs),
        "constant_bytes": launch.traffic.constant_bytes,
        "threads": launch.threads,
        "tier": " ".join(dict.fromkeys(phase.tier for phase in launch.phases if phase.tier)),
        "chosen": chosen or {arch: {"batches": "never", "reason": ""} for arch in archs},
    }


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _row(program: KernelProgram, value: str, kernel: str, origin: str) -> dict[str, Any]:
    node = next(item for item in program.graph.nodes if item.result.name == value)
    return {
        "layer": value,
        "op": type(node).__name__,
        "kernel": kernel,
        "origin": origin,
        "result": str(node.result.type),
        "constant_bytes": sum(program.slice(ref).size_bytes for ref in const_refs(node)),
    }


def _stages(target: str, lowered: Lowered, sources: Mapping[str, bytes]) -> dict[str, str]:
    def digest(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    return {
        f"{target}.bit": digest(print_graph(lowered.bit).encode()),
        f"{target}.kernel": digest(print_graph(lowered.program.graph).encode()),
        f"{target}.source": digest(b"".join(sources[name] for name in sorted(sources))),
        f"{target}.blob": digest(lowered.program.blob()),
    }
