"""The persistent kernels of a network: which there are, what tier each layer has in them, who runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from bnncc.codegen.render import render
from bnncc.ir.kernel import KernelOp, KernelProgram, XnorLayer
from bnncc.targets.cuda.artifact import CudaArtifact, FuseUse
from bnncc.targets.cuda.bmma import LATENCY, bmma_plan
from bnncc.targets.cuda.cost import Work
from bnncc.targets.cuda.describe import traffic_of
from bnncc.targets.cuda.device import DEVICES, DeviceRates
from bnncc.targets.cuda.fuse import MOST_PHASES, SMALL_BATCHES, Fuse, Timed, fuse_uses, layer_seconds
from bnncc.targets.cuda.persistent import PersistentKernel, persistent_kernel
from bnncc.targets.cuda.plan import KernelPlan, kernel_prefix
from bnncc.targets.cuda.select import Tier

_REFERENCE: Final = DEVICES["sm_90a"]
"""The device whose rates decide where the layers of one kernel use tensor cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeNetwork:
    """The persistent kernels of a network, and for each architecture the one it runs."""

    kernels: tuple[PersistentKernel, ...] = ()
    uses: tuple[FuseUse, ...] = ()

    def texts(self, bodies: frozenset[str]) -> tuple[str, ...]:
        """Return the source of the kernels; layers in ``bodies`` stand in it already."""
        found: dict[str, str] = {}
        for kernel in self.kernels:
            for phase in kernel.phases:
                if phase.plan.body.name not in bodies:
                    found.setdefault(phase.plan.body.name, render(phase.plan.args))
        return (*found.values(), *(render(kernel.args) for kernel in self.kernels))


def whole_network(
    program: KernelProgram,
    popc: Mapping[str, KernelPlan],
    layers: tuple[CudaArtifact, Mapping[str, Timed]],
    tier: Tier,
    fuse: Fuse,
) -> WholeNetwork:
    """Return what ``fuse`` gives to a network.

    Args:
        program: the network.
        popc: the plan of each layer that runs anywhere, by the name of its kernel; in order.
        layers: the network as a kernel a layer, and what the cost model needs of each kernel.
        tier: of binary layers.
        fuse: what a launch is.
    """
    if fuse is Fuse.LAYER or (fuse is Fuse.AUTO and not 1 < len(popc) <= MOST_PHASES):
        return WholeNetwork()
    artifact, timed = layers

    def seconds_of_layers(device: DeviceRates, images: int) -> float:
        launches = artifact.launches_for(device.arch, images)
        return sum(layer_seconds(timed[launch.kernel], device, images) for launch in launches)

    kernels = _kernels(program, popc, tier)
    candidates = tuple(kernel.candidate for kernel in kernels)
    uses = fuse_uses(candidates, seconds_of_layers, len(artifact.launches), fuse)
    used = {use.kernel for use in uses}
    return WholeNetwork(
        kernels=tuple(kernel for kernel in kernels if kernel.launch.kernel in used),
        uses=uses,
    )


def _kernels(
    program: KernelProgram, popc: Mapping[str, KernelPlan], tier: Tier
) -> tuple[PersistentKernel, ...]:
    """Return the kernel that runs anywhere, and one with tensor cores where a layer gains by them."""
    name = f"{kernel_prefix(program)}persistent"
    while name in popc:
        name = f"{name}_"
    mixed = tuple(
        _plan(program, node, kernel, plan, tier)
        for node, (kernel, plan) in zip(program.graph.nodes, popc.items(), strict=True)
    )
    plans = tuple(popc.values())
    found = [] if tier is Tier.BMMA and mixed != plans else [persistent_kernel(program, name, plans)]
    if mixed != plans:
        found.append(persistent_kernel(program, f"{name}_bmma", mixed))
    return tuple(found)


def _plan(program: KernelProgram, node: KernelOp, name: str, popc: KernelPlan, tier: Tier) -> KernelPlan:
    """Return how ``node`` is computed in the kernel that may use tensor cores."""
    if tier is Tier.POPC or not isinstance(node, XnorLayer):
        return popc
    bmma = bmma_plan(program, node, f"{name}_bmma_wide", LATENCY)
    if bmma is None or tier is Tier.BMMA:
        return bmma or popc
    return min((popc, bmma), key=lambda plan: _slowness(program, node, plan))


def _slowness(program: KernelProgram, node: KernelOp, plan: KernelPlan) -> float:
    timed = plan.geometry, traffic_of(program, node), plan.work or Work()
    return prod(layer_seconds(timed, _REFERENCE, images) for images in SMALL_BATCHES)
