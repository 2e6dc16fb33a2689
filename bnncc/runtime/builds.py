"""What each target adds to a package: generated sources, binaries where a compiler is here, a report."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bnncc.codegen.manifest import TargetInfo
from bnncc.diagnostics import PlatformError
from bnncc.ir.bit import BitGraph
from bnncc.ir.graph import const_refs
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.text import print_graph
from bnncc.runtime.native import NATIVE, build_library, machine_named
from bnncc.targets.c.artifact import CArtifact
from bnncc.targets.c.forms import MACHINES, CMachine
from bnncc.targets.c.target import CTarget
from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import Lowered, Observe, ignore, lower_for
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import CudaCompiler, compile_cuda, known_arch
from bnncc.toolchain.find_cuda import find_cuda_compiler

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
    """

    info: TargetInfo
    entries: Mapping[str, bytes]
    stages: Mapping[str, str]
    report: tuple[Mapping[str, Any], ...]


def emit_c(graph: BitGraph, machine: CMachine, observe: Observe = ignore) -> tuple[CArtifact, KernelProgram]:
    """Return the C of a lowered network for ``machine``, and the program it was made of."""
    target = CTarget.for_machine(machine)
    lowered = lower_for(graph, target, observe)
    return target.emit(lowered.program), lowered.program


def emit_cuda(graph: BitGraph, observe: Observe = ignore) -> tuple[CudaArtifact, KernelProgram]:
    """Return the CUDA of a lowered network, and the program it was made of."""
    target = CudaTarget()
    lowered = lower_for(graph, target, observe)
    return target.emit(lowered.program), lowered.program


def build_c(graph: BitGraph, march: str, observe: Observe = ignore) -> Built:
    """Return the C target's part; without a C compiler it lacks the library."""
    missing: list[str] = []
    try:
        machine = machine_named(march)
    except PlatformError as error:
        if march != NATIVE:
            raise
        missing.append(f"the C is for any machine, since this one cannot be asked: {error}")
        machine = MACHINES["generic"]
    target = CTarget.for_machine(machine)
    lowered = lower_for(graph, target, observe)
    artifact = target.emit(lowered.program)
    sources = {f"src/{item.name}": item.text.encode() for item in artifact.files}
    binaries: dict[str, bytes] = {}
    try:
        binaries[library_entry(machine)] = build_library(artifact).read_bytes()
    except PlatformError as error:
        missing.append(f"no library, only its source: {error}")
    return Built(
        info=TargetInfo(
            name="c",
            options={"march": machine.name, "form": machine.form.value},
            sources=tuple(sources),
            binaries=tuple(binaries),
            missing=tuple(missing),
        ),
        entries={**sources, **binaries},
        stages=_stages("c", lowered, sources),
        report=tuple(
            _row(lowered.program, kernel.value, kernel.symbol, str(kernel.span))
            for kernel in artifact.kernels
        ),
    )


def library_entry(machine: CMachine) -> str:
    """Return the entry of the library for ``machine`` on this operating system."""
    return f"bin/{platform.system().lower()}-{platform.machine().lower()}-{machine.name}.so"


def build_cuda(graph: BitGraph, archs: tuple[str, ...] | None, observe: Observe = ignore) -> Built:
    """Return the CUDA target's part; without a CUDA compiler it lacks PTX and cubins.

    Raises:
        PlatformError: an architecture of ``archs`` is unknown.
    """
    wanted = tuple(known_arch(arch) for arch in archs or DEFAULT_ARCHS)
    target = CudaTarget()
    lowered = lower_for(graph, target, observe)
    artifact = target.emit(lowered.program)
    sources = {f"src/{item.name}": item.text.encode() for item in artifact.files}
    binaries: dict[str, bytes] = {}
    missing: list[str] = []
    reports: dict[str, dict[str, Any]] = {launch.kernel: {} for launch in artifact.launches}
    try:
        compiler = find_cuda_compiler()
        for arch in wanted:
            binaries |= _device_images(compiler, artifact, arch, reports)
    except PlatformError as error:
        missing.append(f"no PTX and cubins for {', '.join(wanted)}, only the source: {error}")
    rows = tuple(
        {
            **_row(lowered.program, launch.node, launch.kernel, launch.origin),
            "threads": launch.geometry.threads,
            "archs": reports[launch.kernel],
        }
        for launch in artifact.launches
    )
    return Built(
        info=TargetInfo(
            name="cuda",
            options={"arch": ",".join(wanted)},
            sources=tuple(sources),
            binaries=tuple(binaries),
            missing=tuple(missing),
        ),
        entries={**sources, **binaries},
        stages=_stages("cuda", lowered, sources),
        report=rows,
    )


def _device_images(
    compiler: CudaCompiler, artifact: CudaArtifact, arch: str, reports: dict[str, dict[str, Any]]
) -> dict[str, bytes]:
    cache = BuildCache.default()
    source = artifact.source.text
    ptx = compile_cuda(compiler, source, arch, "ptx", cache=cache)
    cubin = compile_cuda(compiler, source, arch, "cubin", cache=cache)
    for report in cubin.reports:
        reports[report.kernel][arch] = {
            "registers": report.registers,
            "shared_bytes": report.shared_bytes,
            "stack_bytes": report.stack_bytes,
            "spill_bytes": report.spill_store_bytes + report.spill_load_bytes,
        }
    return {f"ptx/{arch}.ptx": ptx.data, f"cubin/{arch}.cubin": cubin.data}


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
