"""The CUDA target: a kernel program as one readable ``model.cu`` and the launches that run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, assert_never

from bnncc._resources import resource_dir
from bnncc._version import __version__
from bnncc.codegen.ctext import c_comment, c_identifier
from bnncc.codegen.render import TemplateArgs, render
from bnncc.diagnostics import Diagnostic
from bnncc.ir import bit
from bnncc.ir.bit import BitGraph
from bnncc.ir.kernel import (
    FloatLayer,
    IntegerForm,
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
from bnncc.targets.cuda.imma import IMMA, imma_plan
from bnncc.targets.cuda.layers import float_plan, integer_plan, xnor_plan
from bnncc.targets.cuda.measured import MeasuredUses
from bnncc.targets.cuda.plan import KernelPlan, declarations, kernel_prefix
from bnncc.targets.cuda.select import Choice, Tier, integer_uses, tier_uses
from bnncc.targets.cuda.wgmma import wgmma_kernel_args, wgmma_packings, wgmma_plan, wgmma_refusal
from bnncc.targets.cuda.whole import WholeNetwork, whole_network
from bnncc.targets.target import SourceFile

STORAGE = StorageForm(
    spatial=Layout.PLANES128,
    rows=Layout.ROWS8X128,
    packing=Packing(lanes=32, vector_bits=128),
    integer_lanes=32,
    dense_integers=IntegerForm.QUADS,
    integer_windows=IntegerForm.QUADS,
    images_per_group=8,
    has_weight_ones=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaTarget:
    """Kernels for any GPU from sm_75 up, and for tensor cores where they multiply single bits.

    Args:
        tier: which kernels binary layers get; all others have one kernel that runs anywhere.
        fuse: whether a launch is a layer or the whole network.
        measured: what counts before the cost model.
    """

    name: ClassVar[str] = "cuda"
    tier: Tier = Tier.AUTO
    fuse: Fuse = Fuse.AUTO
    measured: MeasuredUses = field(default_factory=MeasuredUses)

    @property
    def storage(self) -> StorageForm:
        """Return the layouts its kernels work on."""
        return STORAGE

    def check(self, graph: BitGraph) -> tuple[Diagnostic, ...]:  # noqa: ARG002 - nothing is refused
        """Return nothing: the popc tier runs every network that the kernel level can say."""
        return ()

    def tiles(self, graph: KernelGraph) -> Mapping[str, Packing]:
        """Return in which form the kernels of tier wgmma read weights, by the name of the layer's result."""
        return wgmma_packings(graph, self.tier)

    def emit(self, program: KernelProgram) -> CudaArtifact:
        """Return the source of all kernels and their launches."""
        graph = program.graph
        names = kernel_names(program)
        made = tuple(
            _kernels(program, node, name, self) for node, name in zip(graph.nodes, names, strict=True)
        )
        launches = tuple(item.first.launch for item in made)
        variants = tuple(variant for item in made for variant in item.variants)
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
        # Warpgroups have no persistent kernel: who asks for them gets a launch a layer.
        fuse = Fuse.LAYER if self.tier.is_by_warpgroups and self.fuse is Fuse.AUTO else self.fuse
        whole = whole_network(program, popc, (artifact, costs), self.tier, fuse)
        whole = replace(whole, uses=self.measured.fuse_uses(whole.uses))
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
    def wrapper(self) -> TemplateArgs:
        """Return the kernel around the device function of its layer."""
        plan, body = self.plan, self.plan.body
        threads = plan.geometry.threads
        names = (item.name for item in plan.parameters)
        if plan.tier == Tier.WGMMA:
            return wgmma_kernel_args(plan, self.launch.kernel)
        own = [*(["shared"] if body.has_shared else []), *(["early"] if body.is_early else [])]
        return KernelArgs(
            name=self.launch.kernel,
            layer=body.name,
            bounds=f"{threads}, {body.resident_blocks}" if body.resident_blocks else f"{threads}",
            parameters=declarations(plan.parameters),
            arguments=", ".join((*own, "blockIdx.x", "blockIdx.y", *names)),
            has_shared=body.has_shared,
            is_early=body.is_early,
            is_bmma=plan.tier == "bmma",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernels:
    """The kernels of one node: one that runs anywhere, and others that are faster in places."""

    first: _Kernel
    others: tuple[_Kernel, ...] = ()
    uses: tuple[TierUse, ...] = ()

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Return when the other kernels run."""
        return tuple(
            Variant(launch=item.launch, uses=tuple(use for use in self.uses if use.tier == item.launch.tier))
            for item in self.others
        )

    @property
    def kernels(self) -> tuple[_Kernel, ...]:
        """Return all of them."""
        return (self.first, *self.others)

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the source of the kernels."""
        return tuple(text for item in self.kernels for text in (render(item.plan.args), render(item.wrapper)))


def _kernels(program: KernelProgram, node: KernelOp, name: str, target: CudaTarget) -> _Kernels:
    """Return the kernels that the tier of ``target`` gives to ``node``."""
    if isinstance(node, IntegerLayer) and target.tier is not Tier.POPC:
        return _integer_kernels(program, node, name, target)
    if not isinstance(node, XnorLayer) or target.tier is Tier.POPC:
        return _Kernels(first=_kernel(program, node, name, kernel_plan(program, node, name)))
    popc = _kernel(program, node, name, kernel_plan(program, node, name))
    bmma = _bmma(program, node, name)
    wgmma = _wgmma(program, node, name, target.tier)
    choice = Choice(
        popc=popc.timed,
        bmma=None if bmma is None else bmma.timed,
        wgmma=None if wgmma is None else wgmma.timed,
        no_wgmma=wgmma_refusal(node),
    )
    uses = target.measured.tier_uses(node.result.name, tier_uses(choice))
    if target.tier is Tier.BMMA:
        return _Kernels(first=bmma or popc, uses=() if bmma else uses)
    if target.tier is not Tier.AUTO:
        return _Kernels(first=wgmma or bmma or popc, uses=() if wgmma else uses)
    used = {use.tier for use in uses if use.from_images is not None}
    others = tuple(item for item in (bmma, wgmma) if item is not None and item.launch.tier in used)
    return _Kernels(first=popc, others=others, uses=uses)


def _integer_kernels(program: KernelProgram, node: IntegerLayer, name: str, target: CudaTarget) -> _Kernels:
    """Return the kernels of a layer of bytes: by the cost model, or tensor cores where asked for."""
    first = _kernel(program, node, name, integer_plan(program, node, name))
    plan = imma_plan(program, node, f"{name}_{IMMA}")
    imma = None if plan is None else _kernel(program, node, f"{name}_{IMMA}", plan)
    modelled = integer_uses(first.timed, None if imma is None else imma.timed)
    uses = target.measured.tier_uses(node.result.name, modelled)
    if target.tier is not Tier.AUTO:
        return _Kernels(first=imma or first, uses=() if imma else uses)
    is_used = any(use.from_images is not None for use in uses)
    return _Kernels(first=first, others=(imma,) if imma and is_used else (), uses=uses)


def _bmma(program: KernelProgram, node: XnorLayer, name: str) -> _Kernel | None:
    plan = bmma_plan(program, node, f"{name}_bmma")
    return None if plan is None else _kernel(program, node, f"{name}_bmma", plan)


def _wgmma(program: KernelProgram, node: XnorLayer, name: str, tier: Tier) -> _Kernel | None:
    plan = wgmma_plan(program, node, f"{name}_wgmma", tier)
    return None if plan is None else _kernel(program, node, f"{name}_wgmma", plan)


def _kernel(program: KernelProgram, node: KernelOp, name: str, plan: KernelPlan) -> _Kernel:
    launch = Launch(
        kernel=name,
        node=node.result.name,
        origin=str(node.span),
        arguments=tuple(parameter.argument for parameter in plan.parameters),
        geometry=plan.geometry,
        traffic=traffic_of(program, node, is_tiled=plan.tier == Tier.WGMMA),
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
    if tiers & {Tier.BMMA, Tier.WGMMA, IMMA}:
        names.append("bnncc_bmma.cuh")
    if IMMA in tiers:
        names.append("bnncc_imma.cuh")
    if Tier.WGMMA in tiers:
        names.append("bnncc_wgmma.cuh")
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
            | bit.Prelu()
            | bit.Add()
            | bit.Concat()
            | bit.ChangeLayout()
        ):
            return element_plan(program, node, name)
        case _:
            assert_never(node)


def kernel_names(program: KernelProgram) -> tuple[str, ...]:
    """Return the name of each node's kernel, ``bnncc_<network>_<value>``; a tier may follow each."""
    names: list[str] = []
    taken: set[str] = set()
    for node in program.graph.nodes:
        base = f"{kernel_prefix(program)}{c_identifier(node.result.name)}"
        name, copy = base, 1
        while taken & (mine := {name, *(f"{name}_{tier}" for tier in (*Tier, IMMA))}):
            copy += 1
            name = f"{base}_{copy}"
        names.append(name)
        taken |= mine
    return tuple(names)


def _plan_lines(node: KernelOp, item: _Kernels) -> tuple[str, ...]:
    """Return what the head of the source says about the launch of ``node``."""
    lines = [f"{_launch_text(item.first.launch)}  {origin_text(node)}"]
    lines.extend(f"  or {_launch_text(variant.launch)}  {_uses_text(variant)}" for variant in item.variants)
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
