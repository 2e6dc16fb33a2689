"""Tuning the C target: each layer alone, cut in several ways, then the images of a chunk."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from bnncc.diagnostics import InternalError
from bnncc.ir.graph import Graph, Output
from bnncc.ir.kernel import IntegerLayer, KernelGraph, KernelProgram, XnorLayer
from bnncc.passes.plan_memory import PlanMemory
from bnncc.runtime.executable import NUMPY_DTYPES, Array
from bnncc.runtime.native import NativeExecutable
from bnncc.runtime.tuning.race import Result, race
from bnncc.runtime.tuning.store import Entry, Place
from bnncc.targets.c.artifact import CArtifact, CPort
from bnncc.targets.c.cut import LayerCut, NetworkCut, joined, layer_cut, single_changes
from bnncc.targets.c.forms import CMachine
from bnncc.targets.c.target import CTarget
from bnncc.targets.problem import problem_text
from bnncc.toolchain.host_compiler import HostCompiler

_CPU_INFO: Final = Path("/proc/cpuinfo")
_CLOCK: Final = time.thread_time
"""Of the one thread that runs: what other programs take of the processor does not count."""
_CHUNKS: Final = (4, 8, 16, 32, 64, 128)
Layer: TypeAlias = XnorLayer | IntegerLayer
Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTuning:
    """How the C of a network is measured.

    Args:
        machine: that the code is for; this one has to run it.
        compiler: that builds.
        images: of a batch.
        budget_s: of each race.
        say: told of every outcome.
    """

    machine: CMachine
    compiler: HostCompiler
    images: int
    budget_s: float
    say: Say

    @property
    def place(self) -> Place:
        """Return where the measurements count."""
        return place_of(self.machine, self.compiler)

    def entries(self, program: KernelProgram) -> Iterator[Entry]:
        """Yield what was found for every layer of ``program``, each problem once, and for the whole of it."""
        seen: set[str] = set()
        layers: dict[str, Entry] = {}
        for node in layers_of(program):
            problem = problem_text(node)
            if problem not in seen:
                seen.add(problem)
                layers[problem] = self._layer(program, node, problem)
                yield layers[problem]
        yield self._chunk(program, tuned_cut(program, layers)[0])

    def gain(self, program: KernelProgram, cut: NetworkCut) -> Result:
        """Return the race of the whole network: as it usually is, against ``cut``."""
        with ExitStack() as stack:
            runs = [self._loaded(program, item, stack) for item in (NetworkCut(), cut)]
            return race(runs, 4 * self.budget_s, _CLOCK)

    def _layer(self, program: KernelProgram, node: Layer, problem: str) -> Entry:
        alone = _alone(program, node)
        with ExitStack() as stack:
            cuts, runs = self._candidates(alone, node, single_changes(), stack)
            first = race(runs, self.budget_s, _CLOCK)
            # What is good for one thing may be so together with what is good for another.
            better = joined([cuts[index] for index in _by_rank(first)])
            chosen, outcome = cuts[first.winner], first
            if better not in cuts:
                (more,), (run,) = self._candidates(alone, node, (better,), stack)
                second = race([runs[0], runs[first.winner], run], self.budget_s, _CLOCK)
                chosen, outcome = (cuts[0], chosen, more)[second.winner], second
        return self._entry(problem, str(chosen), outcome, len(cuts))

    def _chunk(self, program: KernelProgram, cut: NetworkCut) -> Entry:
        usual = min(self.images, CTarget.for_machine(self.machine).emit(program).chunk_images)
        sizes = [size for size in _CHUNKS if size <= self.images and size != usual]
        with ExitStack() as stack:
            cuts = [cut, *(replace(cut, chunk_images=size) for size in sizes)]
            outcome = race([self._loaded(program, item, stack) for item in cuts], self.budget_s, _CLOCK)
        chosen = cuts[outcome.winner].chunk_images
        return self._entry(
            chunk_problem(program), "auto" if chosen is None else str(chosen), outcome, len(cuts)
        )

    def _entry(self, problem: str, choice: str, outcome: Result, ways: int) -> Entry:
        gain = f"{outcome.gain:.2f}x the usual way" if outcome.winner else "no clear gain over the usual way"
        measured = (
            f"{gain}: {1e6 * outcome.median_s:.1f} us for {self.images} images, spread {outcome.spread:.0%}, "
            f"{ways} ways, {outcome.rounds} rounds"
        )
        self.say(f"{problem}: {choice}; {measured}")
        return Entry(place=self.place, problem=problem, choice=choice, measured=measured)

    def _candidates(
        self, program: KernelProgram, node: Layer, cuts: Sequence[LayerCut], stack: ExitStack
    ) -> tuple[list[LayerCut], list[Callable[[], object]]]:
        """Return those of ``cuts`` that make different code, and how to run each; all give the same."""
        found: dict[str, LayerCut] = {}
        for cut in cuts:
            artifact = self._artifact(program, NetworkCut(layers={node.result.name: cut}))
            found.setdefault(artifact.file("model.c").text, cut)
        kept = list(found.values())
        loaded = [NetworkCut(layers={node.result.name: cut}) for cut in kept]
        return kept, [self._loaded(program, cut, stack) for cut in loaded]

    def _artifact(self, program: KernelProgram, cut: NetworkCut) -> CArtifact:
        return replace(CTarget.for_machine(self.machine), cut=cut).emit(program)

    def _loaded(self, program: KernelProgram, cut: NetworkCut, stack: ExitStack) -> Callable[[], object]:
        """Return a run of ``program`` on one thread, compared with its usual cut before."""
        artifact = self._artifact(program, cut)
        network = NativeExecutable.load(artifact, program.blob(), compiler=self.compiler, threads=1)
        stack.callback(network.close)
        inputs = {port.name: _random(port, self.images) for port in artifact.inputs}
        if cut != NetworkCut():
            usual = NativeExecutable.load(
                self._artifact(program, NetworkCut()), program.blob(), compiler=self.compiler, threads=1
            )
            _require_same(usual.run(inputs), network.run(inputs), artifact.network, cut)
        return lambda: network.run(inputs)


def place_of(machine: CMachine, compiler: HostCompiler) -> Place:
    """Return where measurements of code for ``machine`` on this one count."""
    return Place(target="c", device=f"{processor_name()}, {machine.name}", compiler=compiler.version)


def processor_name(path: Path = _CPU_INFO) -> str:
    """Return what the system calls this processor."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" in named:
        parts = (named.get(key, "?") for key in ("cpu family", "model", "stepping"))
        return f"{named['model name']} (family, model, stepping {' '.join(parts)})"
    return platform.processor() or platform.machine()


def layers_of(program: KernelProgram) -> tuple[Layer, ...]:
    """Return the layers that can be cut."""
    return tuple(node for node in program.graph.nodes if isinstance(node, XnorLayer | IntegerLayer))


def chunk_problem(program: KernelProgram) -> str:
    """Return what decides how many images go through a network together: all its layers."""
    problems = map(problem_text, layers_of(program))
    text = "\n".join((*problems, f"{program.workspace_bytes_per_image} bytes an image"))
    return f"images of a chunk, network {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def tuned_cut(program: KernelProgram, found: Mapping[str, Entry]) -> tuple[NetworkCut, dict[str, Entry]]:
    """Return the cut that measurements give ``program``, and those used.

    These are by the name of the layer's result; that of the images of a chunk has an empty name.
    """
    entries = {
        node.result.name: entry for node in layers_of(program) if (entry := found.get(problem_text(node)))
    }
    layers = {name: layer_cut(entry.choice) for name, entry in entries.items()}
    chunk = found.get(chunk_problem(program))
    images = None if chunk is None or chunk.choice == "auto" else int(chunk.choice)
    changed = {name: cut for name, cut in layers.items() if cut != LayerCut()}
    return NetworkCut(layers=changed, chunk_images=images), {
        **entries,
        **({} if chunk is None else {"": chunk}),
    }


def _alone(program: KernelProgram, node: Layer) -> KernelProgram:
    """Return the network of one layer."""
    graph: KernelGraph = Graph(
        name="tuned",
        inputs=(node.x,),
        nodes=(node,),
        outputs=(Output("y", node.result),),
        constants=program.graph.constants,
    )
    return PlanMemory(program.images_per_group).run(graph)


def _by_rank(outcome: Result) -> list[int]:
    return [outcome.winner, *(index for index in outcome.kept if index not in (0, outcome.winner))]


def _random(port: CPort, images: int) -> Array:
    """Return images of random bits; speed does not depend on them."""
    rng = np.random.default_rng(0)
    dtype = NUMPY_DTYPES[port.elem.value]
    if dtype == np.float32:
        return rng.standard_normal((images, *port.shape), np.float32)
    return rng.integers(0, 2, (images, *port.shape), dtype)


def _require_same(
    usual: Mapping[str, Array], found: Mapping[str, Array], network: str, cut: NetworkCut
) -> None:
    if any(not np.array_equal(usual[name], found[name]) for name in usual):
        raise InternalError(f"'{network}' computes something else when it is cut as {cut.to_texts()}")
