"""The persistent kernel: the device functions of all layers in one launch, barriers of all blocks between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bnncc.codegen.ctext import c_identifier
from bnncc.ir.graph import operands
from bnncc.ir.kernel import BlobSlice, KernelOp, KernelProgram, Role
from bnncc.ir.types import Value
from bnncc.targets.cuda.args import PersistentArgs, PhaseArgs
from bnncc.targets.cuda.artifact import (
    Argument,
    BarrierArgument,
    ConstantArgument,
    ImagesArgument,
    PersistentLaunch,
    PersistentPhase,
    Traffic,
    ValueArgument,
)
from bnncc.targets.cuda.cost import Work
from bnncc.targets.cuda.describe import persistent_comment, phase_lines, traffic_of
from bnncc.targets.cuda.fuse import Candidate, Timed
from bnncc.targets.cuda.launch import MAP_THREADS, LaunchGeometry
from bnncc.targets.cuda.plan import KernelPlan, Parameter

_RESIDENT_BLOCKS: Final = 2
"""That a multiprocessor should hold: registers for more are not worth the spills."""
_LINE: Final = 96
"""Characters of a line of arguments."""
_OWN_NAMES: Final = frozenset({"shared", "barrier", "images", "i"})
"""What the kernel itself calls things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One layer of a persistent kernel.

    Args:
        node: the layer.
        plan: its device function.
        traffic: bytes it moves.
        has_barrier: whether all blocks must have ended what came before.
    """

    node: KernelOp
    plan: KernelPlan
    traffic: Traffic
    has_barrier: bool

    @property
    def timed(self) -> Timed:
        """Return what the cost model needs."""
        return self.plan.geometry, self.traffic, self.plan.work or Work()


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistentKernel:
    """A persistent kernel: its layers, its text to be, its launch."""

    phases: tuple[Phase, ...]
    args: PersistentArgs
    launch: PersistentLaunch

    @property
    def candidate(self) -> Candidate:
        """Return what the cost model compares."""
        return Candidate(
            kernel=self.launch.kernel,
            needs_bmma=self.args.is_bmma,
            barriers=self.launch.barriers,
            phases=tuple(phase.timed for phase in self.phases),
        )


def persistent_kernel(program: KernelProgram, name: str, plans: tuple[KernelPlan, ...]) -> PersistentKernel:
    """Return the kernel called ``name`` of the whole network, from the plan of each layer."""
    phases = _phases(program, plans)
    parameters = _Parameters.of(phases)
    shared_bytes = max(phase.plan.geometry.shared_bytes for phase in phases)
    launch = PersistentLaunch(
        kernel=name,
        arguments=(*parameters.arguments, ImagesArgument(), BarrierArgument()),
        threads=MAP_THREADS,
        shared_bytes=shared_bytes,
        phases=tuple(
            PersistentPhase(
                node=phase.node.result.name,
                origin=str(phase.node.span),
                tier=phase.plan.tier,
                geometry=phase.plan.geometry,
            )
            for phase in phases
        ),
        barriers=sum(phase.has_barrier for phase in phases),
        traffic=_sum([phase.traffic for phase in phases]),
    )
    shared = [phase for phase in phases if phase.plan.body.has_shared]
    args = PersistentArgs(
        comment=persistent_comment(program.graph, launch),
        name=name,
        bounds=f"{MAP_THREADS}, {_RESIDENT_BLOCKS}",
        parameters=",\n    ".join((*parameters.declarations, "int images", "unsigned *barrier")),
        has_shared=bool(shared),
        members=tuple(f"{phase.plan.body.name}::Shared {_member(phase)}" for phase in shared),
        prefetches=tuple(call for phase in phases for call in _prefetches(program, phase, parameters)),
        phases=tuple(_phase_args(number, phase, parameters) for number, phase in enumerate(phases, start=1)),
        is_bmma=any(phase.plan.tier == "bmma" for phase in phases),
    )
    return PersistentKernel(phases=phases, args=args, launch=launch)


def _phases(program: KernelProgram, plans: tuple[KernelPlan, ...]) -> tuple[Phase, ...]:
    """Return the phases; a barrier stands where one reads what was written since the last, or overwrites."""
    found: list[Phase] = []
    read: list[Value] = []
    written: list[Value] = []
    for node, plan in zip(program.graph.nodes, plans, strict=True):
        assert plan.geometry.threads == MAP_THREADS, "one block size serves all layers"
        needs = operands(node)
        has_barrier = any(_overlap(program, value, old) for value in needs for old in written) or any(
            _overlap(program, node.result, old) for old in (*read, *written)
        )
        if has_barrier:
            read, written = [], []
        read.extend(needs)
        written.append(node.result)
        found.append(Phase(node=node, plan=plan, traffic=traffic_of(program, node), has_barrier=has_barrier))
    return tuple(found)


def _overlap(program: KernelProgram, first: Value, second: Value) -> bool:
    """Return whether two values share memory; the plan of the workspace uses it again and again."""
    a, b = program.buffer(first), program.buffer(second)
    if a.role is not Role.WORKSPACE or b.role is not Role.WORKSPACE:
        return first.name == second.name
    return (
        a.offset_bytes_per_image < b.offset_bytes_per_image + b.bytes_per_image
        and b.offset_bytes_per_image < a.offset_bytes_per_image + a.bytes_per_image
    )


@dataclass(frozen=True, slots=True)
class _Parameters:
    """What the kernel is called with: names and types of the values and constants of all layers."""

    names: Mapping[tuple[Argument, str], str]
    declarations: tuple[str, ...]
    arguments: tuple[Argument, ...]

    @classmethod
    def of(cls, phases: tuple[Phase, ...]) -> _Parameters:
        """Return the inputs of the network, then the constants and the result of each layer."""
        made = {phase.node.result.name for phase in phases}
        types: dict[tuple[Argument, str], str] = {}
        for phase in phases:
            for parameter in phase.plan.parameters:
                wanted = parameter.argument
                is_input = isinstance(wanted, ValueArgument) and wanted.value not in made
                is_result = wanted == ValueArgument(phase.node.result.name)
                if is_input or is_result or isinstance(wanted, ConstantArgument):
                    name = f"{phase.node.result.name}_{parameter.name}"
                    types.setdefault(
                        _key(parameter), wanted.value if isinstance(wanted, ValueArgument) else name
                    )
        names: dict[tuple[Argument, str], str] = {}
        for key, name in types.items():
            names[key] = _free_name(c_identifier(name), {*names.values(), *_OWN_NAMES})
        declarations = (
            f"{c_type}__restrict__ {names[argument, c_type]}"
            if c_type.startswith("const")
            else f"{c_type}{names[argument, c_type]}"
            for argument, c_type in names
        )
        return cls(names, tuple(declarations), tuple(argument for argument, _ in names))

    def expression(self, parameter: Parameter) -> str:
        """Return what a device function gets for ``parameter``, in C."""
        if isinstance(parameter.argument, ImagesArgument):
            return "images"
        if (name := self.names.get(_key(parameter))) is not None:
            return name
        # A value that another layer made: what are words there may be vectors here.
        (name,) = (name for (argument, _), name in self.names.items() if argument == parameter.argument)
        return f"({parameter.c_type}){name}"


def _key(parameter: Parameter) -> tuple[Argument, str]:
    return parameter.argument, parameter.c_type


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{name}_"
    return name


def _member(phase: Phase) -> str:
    return c_identifier(phase.plan.body.name.removesuffix("_layer"))


def _phase_args(number: int, phase: Phase, parameters: _Parameters) -> PhaseArgs:
    body, geometry = phase.plan.body, phase.plan.geometry
    groups = geometry.grid_y
    group = "0" if groups == 1 else f"i % {groups}"
    early = f"{_member(phase)}_early"
    own = [f"shared.{_member(phase)}"] if body.has_shared else []
    if body.is_early:
        own.append(early)
    weights = [parameters.expression(item) for item in phase.plan.parameters if item.name == "weight"]
    return PhaseArgs(
        number=number,
        lines=phase_lines(phase.node, phase.plan.tier, geometry),
        tiles=_tiles(geometry),
        layer=body.name,
        place=", ".join((*own, "i" if groups == 1 else f"i / {groups}", group)),
        values=_wrapped([parameters.expression(parameter) for parameter in phase.plan.parameters]),
        has_barrier=phase.has_barrier,
        has_shared=body.has_shared,
        is_early=body.is_early,
        early=early,
        first_group=group.replace("i", "blockIdx.x"),
        group=group,
        weight="".join(weights),
    )


def _wrapped(values: list[str]) -> tuple[str, ...]:
    """Return the last arguments of a call, and its end, in lines."""
    lines = [""]
    for text in (*(f"{value}, " for value in values[:-1]), f"{values[-1]});"):
        if lines[-1] and len(lines[-1]) + len(text) > _LINE:
            lines.append("")
        lines[-1] += text
    return tuple(line.rstrip() for line in lines)


def _tiles(geometry: LaunchGeometry) -> str:
    """Return how many tiles there are for ``images`` images, in C."""
    step, tiles = geometry.images_per_step, geometry.blocks_per_step * geometry.grid_y
    steps = "images" if step == 1 else f"(images + {step - 1}) / {step}"
    return steps if tiles == 1 else f"{steps} * {tiles}"


def _prefetches(program: KernelProgram, phase: Phase, parameters: _Parameters) -> tuple[str, ...]:
    """Return the calls that fetch the weights of a layer."""
    weights = (parameter for parameter in phase.plan.parameters if parameter.name == "weight")
    return tuple(
        f"bnncc_prefetch({parameters.expression(item)}, {_slice(program, item.argument).size_bytes})"
        for item in weights
    )


def _slice(program: KernelProgram, argument: Argument) -> BlobSlice:
    assert isinstance(argument, ConstantArgument), "weights lie in the blob"
    return next(item for item in program.slices if item.offset_bytes == argument.offset_bytes)


def _sum(parts: list[Traffic]) -> Traffic:
    return Traffic(
        read_bytes_per_image=sum(part.read_bytes_per_image for part in parts),
        written_bytes_per_image=sum(part.written_bytes_per_image for part in parts),
        constant_bytes=sum(part.constant_bytes for part in parts),
    )
