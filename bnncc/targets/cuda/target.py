"""The CUDA target: a kernel program as one readable ``model.cu`` and the launches that run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, assert_never

from bnncc._resources import resource_dir
from bnncc._version import __version__
from bnncc.codegen.ctext import c_comment, c_identifier
from bnncc.codegen.render import render
from bnncc.diagnostics import Diagnostic
from bnncc.ir import bit
from bnncc.ir.bit import BitGraph
from bnncc.ir.kernel import (
    FloatLayer,
    IntegerLayer,
    KernelGraph,
    KernelOp,
    KernelProgram,
    Packing,
    StorageForm,
    XnorLayer,
)
from bnncc.ir.types import Layout
from bnncc.targets.cuda.args import KernelArgs, ModelArgs
from bnncc.targets.cuda.artifact import CudaArtifact, FuseUse, Launch, PersistentLaunch, TierUse, Variant
from bnncc.targets.cuda.bmma import bmma_plan
from bnncc.targets.cuda.cost import Work
from bnncc.targets.cuda.describe import origin_text, traffic_of
from bnncc.targets.cuda.elementwise import element_plan
from bnncc.targets.cuda.fuse import Fuse, Timed
from bnncc.targets.cuda.layers import float_plan, integer_plan, xnor_plan
from bnncc.targets.cuda.plan import KernelPlan, declarations, kernel_prefix
from bnncc.targets.cuda.select import NO_PATCH, Tier, refused, tier_uses
from bnncc.targets.cuda.whole import WholeNetwork, whole_network
from bnncc.targets.target import SourceFile

STORAGE = StorageForm(
    spatial=Layout.PLANES128,
    rows=Layout.ROWS8X128,
    packing=Packing(lanes=32, vector_bits=128),
    integer_lanes=32,
    images_per_group=8,
    has_weight_ones=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaTarget:
    """Kernels for any GPU from sm_75 up, and for tensor cores where they multiply single bits.

    Args:
        tier: which kernels binary layers get; all others have one kernel that runs anywhere.
        fuse: whether a launch is a layer or the whole network.
    """

    name: ClassVar[str] = "cuda"
    tier: Tier = Tier.AUTO
    fuse: Fuse = Fuse.AUTO

    @property
    def storage(self) -> StorageForm:
        """Return the layouts its kernels work on."""
        return STORAGE

    def check(self, graph: BitGraph) -> tuple[Diagnostic, ...]:  # noqa: ARG002 - nothing is refused
        """Return nothing: the popc tier runs every network that the kernel level can say."""
        return ()

    def tiles(self, graph: KernelGraph) -> Mapping[str, Packing]:
        """Return in which form the kernels of tier wgmma read weights, by the name of the layer's result."""
        _ = graph
        return {}

    def emit(self, program: KernelProgram) -> CudaArtifact:
        """Return the source of all kernels and their launches."""
        graph = program.graph
        names = kernel_names(program)
        made = tuple(
            _kernels(program, node, name, self.tier) for node, name in zip(graph.nodes, names, strict=True)
        )
        launches = tuple(item.first.launch for item in made)
        variants = tuple(item.variant for item in made if item.variant is not None)
        artifact = CudaArtifact(
            name=graph.name,
            files=(),
            launches=launches,
            inputs=graph.inputs,
            outputs=graph.outputs,
            buffers=program.buffers,
            images_per_group=program.images_per_group,
            workspace_bytes_per_image=program.workspace_bytes_per_image,
            blob_bytes=program.blob_bytes,
            variants=variants,
            tier_uses=tuple((item.first.launch.node, item.uses) for item in made if item.uses),
        )
        popc = {name: kernel_plan(program, node, name) for node, name in zip(graph.nodes, names, strict=True)}
        costs = {kernel.launch.kernel: kernel.cost for item in made for kernel in item.kernels}
        whole = whole_network(program, popc, (artifact, costs), self.tier, self.fuse)
        return _with_source(artifact, program, () if self.fuse is Fuse.PERSISTENT else made, whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernel:
    """One kernel, and its launch."""

    launch: Launch
    plan: KernelPlan

    @property
    def timed(self) -> tuple[Launch, Work]:
        """Return what the cost model compares."""
        assert self.plan.work is not None, "kernels of binary layers say what they do"
        return self.launch, self.plan.work

    @property
    def cost(self) -> Timed:
        """Return what the cost model compares where other layers count, too."""
        return self.launch.geometry, self.launch.traffic, self.plan.work or Work()

    @property
    def wrapper(self) -> KernelArgs:
        """Return the kernel that makes a tile a block."""
        plan, body = self.plan, self.plan.body
        threads = plan.geometry.threads
        names = (item.name for item in plan.parameters)
        shared = ("shared",) if body.has_shared else ()
        return KernelArgs(
            name=self.launch.kernel,
            layer=body.name,
            bounds=f"{threads}, {body.resident_blocks}" if body.resident_blocks else f"{threads}",
            parameters=declarations(plan.parameters),
            arguments=", ".join((*shared, "blockIdx.x", "blockIdx.y", *names)),
            has_shared=body.has_shared,
            is_bmma=plan.tier == "bmma",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernels:
    """The kernels of one node: one that runs anywhere, and one that is faster in places."""

    first: _Kernel
    second: _Kernel | None = None
    uses: tuple[TierUse, ...] = ()

    @property
    def variant(self) -> Variant | None:
        """Return when the second kernel runs."""
        return None if self.second is None else Variant(launch=self.second.launch, uses=self.uses)

    @property
    def kernels(self) -> tuple[_Kernel, ...]:
        """Return all of them."""
        return tuple(item for item in (self.first, self.second) if item is not None)

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the source of the kernels."""
        return tuple(text for item in self.kernels for text in (render(item.plan.args), render(item.wrapper)))


def _kernels(program: KernelProgram, node: KernelOp, name: str, tier: Tier) -> _Kernels:
    """Return the kernels that ``tier`` gives to ``node``."""
    if not isinstance(node, XnorLayer) or tier is Tier.POPC:
        return _Kernels(first=_kernel(program, node, name, kernel_plan(program, node, name)))
    bmma_name = f"{name}_bmma"
    plan = bmma_plan(program, node, bmma_name)
    if plan is None:
        first = _kernel(program, node, name, kernel_plan(program, node, name))
        return _Kernels(first=first, uses=refused(NO_PATCH))
    bmma = _kernel(program, node, bmma_name, plan)
    if tier is Tier.BMMA:
        return _Kernels(first=bmma)
    popc = _kernel(program, node, name, kernel_plan(program, node, name))
    uses = tier_uses(popc.timed, bmma.timed)
    is_used = any(use.from_images is not None for use in uses)
    return _Kernels(first=popc, second=bmma if is_used else None, uses=uses)


def _kernel(program: KernelProgram, node: KernelOp, name: str, plan: KernelPlan) -> _Kernel:
    launch = Launch(
        kernel=name,
        node=node.result.name,
        origin=str(node.span),
        arguments=tuple(parameter.argument for parameter in plan.parameters),
        geometry=plan.geometry,
        traffic=traffic_of(program, node),
        tier=plan.tier,
    )
    return _Kernel(launch=launch, plan=plan)


def _with_source(
    artifact: CudaArtifact, program: KernelProgram, made: tuple[_Kernels, ...], whole: WholeNetwork
) -> CudaArtifact:
    """Return ``artifact`` with its source; without ``made`` it has the kernels of the whole network only."""
    if not made:
        artifact = replace(artifact, launches=(), variants=(), tier_uses=())
    artifact = replace(
        artifact, persistent=tuple(item.launch for item in whole.kernels), fuse_uses=whole.uses
    )
    lines = [
        line
        for node, item in zip(program.graph.nodes, made, strict=bool(made))
        for line in _plan_lines(node, item)
    ]
    bodies = frozenset(kernel.plan.body.name for item in made for kernel in item.kernels)
    model = ModelArgs(
        title=c_comment(f"{artifact.name}: generated by bnncc {__version__}, target {CudaTarget.name}."),
        plan=(*lines, *(_persistent_line(item, artifact.fuse_uses) for item in artifact.persistent)),
        runtime_header=_headers(artifact),
        kernels=(*(text for item in made for text in item.texts), *whole.texts(bodies)),
    )
    return replace(artifact, files=(SourceFile(name="model.cu", text=render(model)),))


def _headers(artifact: CudaArtifact) -> str:
    """Return the device functions that the kernels call."""
    tiers = {launch.tier for launch in artifact.all_launches}
    tiers |= {phase.tier for launch in artifact.persistent for phase in launch.phases}
    names = ["bnncc_rt.cuh"]
    if artifact.persistent:
        names.append("bnncc_grid.cuh")
    if "bmma" in tiers:
        names.append("bnncc_bmma.cuh")
    folder = resource_dir("templates") / "include"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def kernel_plan(program: KernelProgram, node: KernelOp, name: str) -> KernelPlan:
    """Return the kernel of one node."""
    match node:
        case XnorLayer():
            return xnor_plan(program, node, name)
        case IntegerLayer():
            return integer_plan(program, node, name)
        case FloatLayer():
            return float_plan(program, node, name)
        case (
            bit.BorderAffine()
            | bit.Threshold()
            | bit.FlipSigns()
            | bit.Sign()
            | bit.MaxPool2d()
            | bit.Flatten()
            | bit.Affine()
            | bit.Relu()
            | bit.HardTanh()
            | bit.Add()
            | bit.Concat()
            | bit.ChangeLayout()
        ):
            return element_plan(program, node, name)
        case _:
            assert_never(node)


def kernel_names(program: KernelProgram) -> tuple[str, ...]:
    """Return the name of each node's kernel, ``bnncc_<network>_<value>``; ``_bmma`` may follow each."""
    names: list[str] = []
    for node in program.graph.nodes:
        base = f"{kernel_prefix(program)}{c_identifier(node.result.name)}"
        name, copy = base, 1
        while any(taken in {name, f"{name}_bmma"} or name == f"{taken}_bmma" for taken in names):
            copy += 1
            name = f"{base}_{copy}"
        names.append(name)
    return tuple(names)


def _plan_lines(node: KernelOp, item: _Kernels) -> tuple[str, ...]:
    """Return what the head of the source says about the launch of ``node``."""
    lines = [f"{_launch_text(item.first.launch)}  {origin_text(node)}"]
    if item.variant is not None:
        lines.append(f"  or {_launch_text(item.variant.launch)}  {_uses_text(item.variant)}")
    return tuple(c_comment(line) for line in lines)


def _launch_text(launch: Launch) -> str:
    geometry = launch.geometry
    step = "image" if geometry.images_per_step == 1 else f"{geometry.images_per_step} images"
    grid = f"({geometry.blocks_per_step} per {step}, {geometry.grid_y})"
    return f"{launch.kernel}  grid {grid}  block {geometry.threads}"


def _persistent_line(launch: PersistentLaunch, uses: tuple[FuseUse, ...]) -> str:
    """Return what the head of the source says about a kernel of the whole network."""
    archs: dict[int | None, list[str]] = {}
    for use in uses:
        if use.kernel == launch.kernel:
            archs.setdefault(use.to_images, []).append(use.arch)
    when = ", ".join(
        f"{'all batches' if limit is None else f'up to {limit} images'} on {' '.join(names)}"
        for limit, names in archs.items()
    )
    return c_comment(f"{launch.kernel}  all layers in one cooperative launch  block {launch.threads}  {when}")


def _uses_text(variant: Variant) -> str:
    """Return where a variant runs: ``from 32 images on sm_75, from 64 images on sm_80 sm_90a``."""
    archs: dict[int, list[str]] = {}
    for use in variant.uses:
        if use.from_images is not None:
            archs.setdefault(use.from_images, []).append(use.arch)
    return ", ".join(
        f"from {images} {'image' if images == 1 else 'images'} on {' '.join(names)}"
        for images, names in archs.items()
    )
