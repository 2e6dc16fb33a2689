"""Tuning the CUDA target: every layer in every tier a GPU has, and the network in one launch or in many."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeAlias

from bnncc.diagnostics import PlatformError
from bnncc.ir.bit import BitGraph
from bnncc.ir.kernel import KernelProgram, XnorLayer
from bnncc.runtime.cuda import CudaExecutable, CudaSession
from bnncc.runtime.random_inputs import random_inputs
from bnncc.runtime.tuning.race import decide
from bnncc.runtime.tuning.store import Entry, Place
from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.targets.cuda.device import DEVICES, arch_number, device_for
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.measured import tier_text
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import lower_for
from bnncc.targets.problem import problem_text
from bnncc.toolchain.cuda_compiler import CudaCompiler, DeviceImage

REPEATS: Final = 3
"""Runs of which a sample is the median."""
_TICK_S: Final = 1e-9
"""Nothing is faster: ratios need it."""
ImagesOf: TypeAlias = Callable[[CudaArtifact], Sequence[DeviceImage]]
Samples: TypeAlias = dict[str, list[float]]
"""Seconds by round, by tier or by what a launch is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTuning:
    """How the kernels of a network are measured.

    Args:
        session: of the GPU.
        arch: that the code is for.
        compiler: that makes it.
        images_of: makes it.
        batches: to be measured, from small to large.
        rounds: in each of which every way runs once.
        say: told of every outcome.
    """

    session: CudaSession
    arch: str
    compiler: CudaCompiler
    images_of: ImagesOf
    batches: tuple[int, ...]
    rounds: int
    say: Callable[[str], None]

    @property
    def place(self) -> Place:
        """Return where the measurements count."""
        return gpu_place(self.session.device.name, self.arch, self.compiler)

    def entries(self, graph: BitGraph) -> Iterator[Entry]:
        """Yield what was found for every binary layer, each problem once, and for the whole network."""
        program = lower_for(graph, CudaTarget()).program
        with ExitStack() as stack:
            ways = {
                tier: self._loaded(graph, CudaTarget(tier=tier, fuse=Fuse.LAYER), stack)
                for tier in self._tiers()
            }
            times = {batch: self._layer_times(graph, ways, batch) for batch in self.batches}
        nodes = {problem_text(node): node for node in program.graph.nodes if isinstance(node, XnorLayer)}
        for problem, node in nodes.items():
            winners = {batch: _winner(times[batch][node.result.name]) for batch in self.batches}
            tiers = dict.fromkeys(tier for batch in self.batches for tier in times[batch][node.result.name])
            order = [tier for tier in Tier if tier in tiers]
            firsts: dict[str, int | None] = {
                tier.value: _first(winners, order[index:]) for index, tier in enumerate(order) if index
            }
            told = ", ".join(f"{tier} at {batch} ({gain:.2f}x)" for batch, (tier, gain) in winners.items())
            yield self._entry(problem, tier_text({self.arch: firsts}), told)
        yield self._fused(graph, program)

    def _tiers(self) -> tuple[Tier, ...]:
        rates = device_for(self.arch, self.session.device.capability)
        usual = (Tier.POPC, Tier.BMMA, Tier.WGMMA)
        return (Tier.POPC,) if rates is None else tuple(tier for tier in usual if tier.runs_on(rates))

    def _fused(self, graph: BitGraph, program: KernelProgram) -> Entry:
        inputs = {batch: random_inputs(graph, batch, seed=0) for batch in self.batches}
        gains: dict[int, float] = {}
        with ExitStack() as stack:
            ways = {
                fuse: self._loaded(graph, CudaTarget(fuse=fuse), stack)[1]
                for fuse in (Fuse.LAYER, Fuse.PERSISTENT)
            }
            for batch in self.batches:
                samples: Samples = {fuse: [] for fuse in ways}
                for _ in range(self.rounds):
                    for fuse, network in ways.items():
                        samples[fuse].append(max(network.time_runs(inputs[batch], REPEATS), _TICK_S))
                won, gain = _winner(samples)
                if won != Fuse.PERSISTENT:
                    break
                gains[batch] = gain
        told = ", ".join(f"one launch at {batch} ({gain:.2f}x)" for batch, gain in gains.items())
        return self._entry(fuse_problem(program), str(max(gains, default=0)), told or "a launch a layer")

    def _entry(self, problem: str, choice: str, told: str) -> Entry:
        measured = f"{told}; medians of {self.rounds} rounds"
        self.say(f"{problem}: {choice}; {measured}")
        return Entry(place=self.place, problem=problem, choice=choice, measured=measured)

    def _layer_times(
        self, graph: BitGraph, ways: Mapping[Tier, tuple[CudaArtifact, CudaExecutable]], batch: int
    ) -> dict[str, Samples]:
        """Return the seconds of each layer, by the name of its result, in each tier that it has."""
        inputs = random_inputs(graph, batch, seed=0)
        found: dict[str, Samples] = {}
        for _ in range(self.rounds):
            for artifact, network in ways.values():
                tiers = {launch.node: launch.tier for launch in artifact.launches}
                for time in network.profile(inputs, REPEATS):
                    found.setdefault(time.node, {}).setdefault(tiers[time.node], []).append(
                        max(time.seconds, _TICK_S)
                    )
        return found

    def _loaded(
        self, graph: BitGraph, target: CudaTarget, stack: ExitStack
    ) -> tuple[CudaArtifact, CudaExecutable]:
        program = lower_for(graph, target).program
        artifact = target.emit(program)
        network = self.session.load(artifact, program.blob(), self.images_of(artifact))
        stack.callback(network.close)
        return artifact, network


def gpu_place(name: str, arch: str, compiler: CudaCompiler) -> Place:
    """Return where measurements of code for ``arch`` on the GPU called ``name`` count."""
    made_by = hashlib.sha256(compiler.identity.encode()).hexdigest()[:12]
    return Place(target="cuda", device=f"{name}, {arch}", compiler=f"{compiler.name} {made_by}")


def fuse_problem(program: KernelProgram) -> str:
    """Return what decides whether a network is one launch: its layers."""
    layers = (f"{type(node).__name__} {node.result.type}" for node in program.graph.nodes)
    return f"launches of a run, network {hashlib.sha256(chr(10).join(layers).encode()).hexdigest()[:16]}"


def _winner(samples: Samples) -> tuple[str, float]:
    """Return who is fastest, and its gain over the first."""
    names = list(samples)
    result = decide([samples[name] for name in names], range(len(names)))
    return names[result.winner], median(samples[names[0]]) / result.median_s


def _first(winners: Mapping[int, tuple[str, float]], names: Sequence[str]) -> int | None:
    """Return the batch from which on only ``names`` win; None where the largest is won by another."""
    first: int | None = None
    for batch in sorted(winners, reverse=True):
        if winners[batch][0] not in names:
            break
        first = batch
    return first


def arch_of(capability: tuple[int, int]) -> str:
    """Return what code for a device is compiled for: its own architecture, or the next older one."""
    number = 10 * capability[0] + capability[1]
    older = [arch for arch in DEVICES if arch_number(arch) <= number]
    if not older:
        raise PlatformError(f"no generated code runs on compute capability {capability[0]}.{capability[1]}")
    return older[-1]
