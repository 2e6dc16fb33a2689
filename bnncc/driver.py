"""The stages in order: source, nn graph, weights, bit graph, programs, sources, binaries, package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy.typing as npt

from bnncc._version import __version__
from bnncc.codegen.manifest import Manifest, PortInfo, SourceInfo
from bnncc.codegen.package import NN_IR, REPORT, WEIGHTS, Package, make_package
from bnncc.codegen.packed_weights import encode_weights
from bnncc.diagnostics import DataError, Source, Span
from bnncc.frontend.load import Elaborated, load_network, parse_overrides
from bnncc.ir.bit import BitGraph
from bnncc.ir.nn import NnGraph
from bnncc.ir.text import print_graph
from bnncc.ir.types import Value
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.pipeline import lower_network
from bnncc.runs import last_run
from bnncc.runtime.builds import Built, CBuild, CudaBuild, prepare_c, prepare_cuda
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import Observe, ignore
from bnncc.weights import Weights, find_weights, given_weights, random_weights

WeightsGiven: TypeAlias = Path | Mapping[str, npt.NDArray[Any]] | None
MODEL: Final = "model.bnn"
TARGETS: Final = ("cuda", "c")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """What decides the bytes of a package, besides source, toolchain and weights.

    Args:
        overrides: network parameters (``-D``).
        weights: a file, a run folder, or arrays by name; None: look for them (see `find_weights`).
        random_seed: draw random weights on purpose.
        targets: ``c``, ``cuda``; none makes a package of source, IR and weights.
        archs: GPU architectures to build for; None: the usual ones.
        march: the CPU that the C is compiled for; several, comma-separated: it chooses when it runs.
        cc: the C compiler to use, ``zig`` being the ``ziglang`` package's; None: look for one.
        tier: how binary layers multiply on GPUs.
        fuse: whether a launch on a GPU is a layer or the whole network.
        tuned: whether what `bnncc tune` measured on this machine counts.
    """

    overrides: Mapping[str, str] = field(default_factory=dict)
    weights: WeightsGiven = None
    random_seed: int | None = None
    targets: tuple[str, ...] = TARGETS
    archs: tuple[str, ...] | None = None
    march: str = "native"
    cc: str | None = None
    tier: Tier = Tier.AUTO
    fuse: Fuse = Fuse.AUTO
    tuned: bool = True


def load_model(path: Path, overrides: Mapping[str, str]) -> Elaborated:
    """Return the network in ``path``, its parameters set to ``overrides``: numbers, or words."""
    return load_network(path, parse_overrides([f"{name}={text}" for name, text in overrides.items()]))


def compile_network(path: Path, options: CompileOptions, observe: Observe = ignore) -> Package:
    """Return the network in the file ``path`` as a package.

    Where nothing is said about weights and parameters, those of the network's last training run count.
    """
    elaborated = load_model(path, options.overrides)
    is_open = options.weights is None and options.random_seed is None and not options.overrides
    run = last_run(elaborated.graph.name) if is_open else None
    if run is not None and run.overrides:
        options = replace(options, overrides=run.overrides)
        elaborated = load_model(path, options.overrides)
    return compile_elaborated(elaborated, path, options, observe)


def compile_elaborated(
    elaborated: Elaborated, path: Path, options: CompileOptions, observe: Observe = ignore
) -> Package:
    """Return a network that is already read, as a package.

    Args:
        elaborated: the network.
        path: where its source lies; weights may lie beside it.
        options: what to make.
        observe: called after every pass; what it raises ends the compilation.

    Raises:
        CompileError: weights or network cannot be compiled.
    """
    observe(0, "elaborate", elaborated.graph)
    sources = _portable_sources(elaborated.sources)
    weights = _choose_weights(elaborated.graph, path, options)
    origin = "the weights" if weights.path is None else f"'{weights.path}'"
    bound = BindWeights(weights=weights.arrays, origin=origin).run(
        _with_sources(elaborated.graph, elaborated.sources, sources)
    )
    observe(0, BindWeights.name, bound)
    builds = _build_all(bound, options, observe) if options.targets else ()
    return _assemble(bound, sources, weights, builds, options)


def _choose_weights(graph: NnGraph, path: Path, options: CompileOptions) -> Weights:
    if options.random_seed is not None:
        return random_weights(graph, options.random_seed)
    if options.weights is None or isinstance(options.weights, Path):
        return find_weights(graph, path, options.weights)
    return given_weights(options.weights)


def _build_all(bound: NnGraph, options: CompileOptions, observe: Observe) -> tuple[Built, ...]:
    lowered = lower_network(bound, observe)
    prepared: list[CBuild | CudaBuild] = []
    for name in options.targets:
        match name:
            case "c":
                prepared.append(_prepared_c(lowered, options, observe))
            case "cuda":
                target = CudaTarget(tier=options.tier, fuse=options.fuse)
                prepared.append(prepare_cuda(lowered, options.archs, target, observe, is_tuned=options.tuned))
            case _:
                raise DataError(f"there is no target '{name}'; choose from {', '.join(TARGETS)}")
    # What is left is other programs' work: the compilers run side by side.
    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(lambda item: item.build(), prepared))


def _prepared_c(lowered: BitGraph, options: CompileOptions, observe: Observe) -> CBuild:
    return prepare_c(lowered, options.march, observe, options.cc, is_tuned=options.tuned)


def _assemble(
    bound: NnGraph,
    sources: tuple[Source, ...],
    weights: Weights,
    builds: tuple[Built, ...],
    options: CompileOptions,
) -> Package:
    names = (MODEL, *(f"source/{number}.bnn" for number in range(1, len(sources))))
    text = print_graph(bound)
    entries = {name: source.text.encode() for name, source in zip(names, sources, strict=True)}
    entries[NN_IR] = text.encode()
    entries[WEIGHTS] = encode_weights({ref: bound.array(ref) for ref in bound.const_refs()})
    stages = {"nn": hashlib.sha256(text.encode()).hexdigest()}
    for built in builds:
        entries |= built.entries
        stages |= built.stages
    report = {
        "network": bound.name,
        "is_trained": weights.info.is_trained,
        "weights_bytes": len(entries[WEIGHTS]),
        "float32_bytes": 4 * sum(ref.type.count for ref in bound.const_refs()),
        "targets": {built.info.name: built.report for built in builds},
        "memory": {built.info.name: built.memory for built in builds if built.memory},
    }
    entries[REPORT] = (json.dumps(report, indent=1, sort_keys=True) + "\n").encode()
    manifest = Manifest(
        compiler=__version__,
        network=bound.name,
        inputs=tuple(_port(value, value.name) for value in bound.inputs),
        outputs=tuple(_port(output.value, output.name) for output in bound.outputs),
        overrides=dict(options.overrides),
        sources=tuple(
            SourceInfo(name=source.name, entry=name) for source, name in zip(sources, names, strict=True)
        ),
        weights=weights.info,
        targets=tuple(built.info for built in builds),
        stages=stages,
        entries={},
    )
    return make_package(manifest, entries, bound.name)


def _port(value: Value, name: str) -> PortInfo:
    return PortInfo(name=name, elem=value.type.elem.value, shape=value.type.shape)


def _portable_sources(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """Return ``sources`` under names that do not depend on where the files lie on this machine."""
    folder = Path(sources[0].name).parent
    found: list[Source] = []
    for source in sources:
        path = Path(source.name)
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        taken = {item.name for item in found}
        while name in taken:
            name = f"{len(found)}/{name}"
        found.append(Source(name, source.text))
    return tuple(found)


def _with_sources(graph: NnGraph, before: tuple[Source, ...], after: tuple[Source, ...]) -> NnGraph:
    """Return ``graph`` with the places of its nodes in the sources ``after``."""
    renamed = {old.name: new for old, new in zip(before, after, strict=True)}

    def moved(span: Span) -> Span:
        return replace(span, source=renamed.get(span.source.name, span.source))

    # Places do not count in comparisons, so `with_nodes` would see no change here.
    return replace(graph, nodes=tuple(replace(node, span=moved(node.span)) for node in graph.nodes))
