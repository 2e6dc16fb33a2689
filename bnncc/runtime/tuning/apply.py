"""What measurements say about a network that is being compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bnncc.diagnostics import PlatformError
from bnncc.ir.kernel import KernelProgram, XnorLayer
from bnncc.runtime.tuning.cpu import place_of, tuned_cut
from bnncc.runtime.tuning.gpu import fuse_problem, gpu_place
from bnncc.runtime.tuning.store import Entry, TuningStore, digest
from bnncc.targets.c.cut import NetworkCut
from bnncc.targets.c.forms import CMachine
from bnncc.targets.cuda.measured import MeasuredUses, tiers_of_text
from bnncc.targets.problem import problem_text
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.host_compiler import HostCompiler, find_c_compiler

TUNING: Final = "tuning"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedC:
    """The cut of a network, and the measurements behind it.

    Args:
        cut: of the network.
        used: by the name of a layer's result; that of the chunk under an empty name.
    """

    cut: NetworkCut = field(default_factory=NetworkCut)
    used: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, str]:
        """Return what the manifest says: the cut, and the hash of what it comes from."""
        return {**self.cut.to_texts(), TUNING: digest(self.used.values())} if self.used else {}

    def row(self, value: str) -> dict[str, str]:
        """Return what the report says about the layer that makes ``value``."""
        entry = self.used.get(value)
        if entry is None:
            return {"cut": str(self.cut.of(value)), "by": "rule"}
        return {"cut": entry.choice, "by": f"measured, {entry.measured}"}


def tuned_c(program: KernelProgram, machines: tuple[CMachine, ...], compiler: HostCompiler | None) -> TunedC:
    """Return what was measured here about ``program``; nothing for a library of several forms.

    Raises:
        DataError: the file of measurements is damaged.
    """
    try:
        built_by = compiler or find_c_compiler()
    except PlatformError:
        return TunedC()
    if len(machines) != 1:
        return TunedC()
    cut, used = tuned_cut(program, TuningStore.default().at(place_of(machines[0], built_by)))
    return TunedC(cut=cut, used=used)


def tuned_cuda(program: KernelProgram, archs: tuple[str, ...]) -> MeasuredUses:
    """Return what was measured on this machine's GPUs about ``program``, for ``archs``.

    Raises:
        DataError: the file of measurements is damaged.
    """
    try:
        compiler = find_cuda_compiler()
    except PlatformError:
        return MeasuredUses()
    stored = TuningStore.default().entries()
    # One GPU of an architecture counts, the first by name: code is for an architecture, not for a product.
    entries = {
        (arch, entry.problem): entry
        for arch in archs
        for entry in reversed(stored)
        if entry.place == gpu_place(entry.place.device.rpartition(", ")[0], arch, compiler)
    }
    layers = [node for node in program.graph.nodes if isinstance(node, XnorLayer)]
    tiers = {
        node.result.name: {
            name: firsts for entry in found for name, firsts in tiers_of_text(entry.choice).items()
        }
        for node in layers
        if (found := [entry for arch in archs if (entry := entries.get((arch, problem_text(node))))])
    }
    fuse = {
        arch: int(entry.choice) for arch in archs if (entry := entries.get((arch, fuse_problem(program))))
    }
    problems = {fuse_problem(program), *map(problem_text, layers)}
    used = [entry for (_, problem), entry in entries.items() if problem in problems]
    return MeasuredUses(tiers=tiers, fuse=fuse, digest=digest(used) if used else "")
