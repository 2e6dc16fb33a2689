"""``tune``: what runs fastest on this machine, measured and remembered for ``compile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from bnncc.cli.measuring import positive
from bnncc.cli.options import Define, parse_list, parse_overrides
from bnncc.cli.talk import emit, say

if TYPE_CHECKING:
    from bnncc.ir.bit import BitGraph
    from bnncc.runtime.tuning.store import TuningStore

MOST_ROUNDS = 1000

Network: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="MODEL.bnn|PKG", help="The network; weights do not matter.")
]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Compile")(tune)


def tune(  # noqa: PLR0913 - the options of the command
    network: Network = None,
    target: Annotated[str, typer.Option(help="c, cuda.")] = "c",
    batch: Annotated[
        str | None, typer.Option(metavar="LIST", help="Batch sizes; c takes one. [16; 1,16,256,4096]")
    ] = None,
    march: Annotated[str, typer.Option(help="The CPU of the C; this one has to run it.")] = "native",
    gpu: Annotated[int, typer.Option(min=0, help="The GPU of --target cuda.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.05, help="Most time of one comparison of the C.")] = 1.0,
    define: Define = None,
    *,
    rounds: Annotated[int, typer.Option(min=3, max=MOST_ROUNDS, help="Of a comparison on a GPU.")] = 9,
    show: Annotated[bool, typer.Option("--show", help="Print what was measured before.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Forget what was measured before.")] = False,
) -> None:
    """Measure the ways to run each layer on this machine; `compile` takes the fastest."""
    from bnncc.runtime.tuning.store import TuningStore

    store = TuningStore.default()
    if clear:
        say(f"removed {store.path}" if store.clear() else f"there was no {store.path}")
    if show:
        _show(store)
    if network is None:
        if not (show or clear):
            raise typer.BadParameter("name a network, or --show, or --clear", param_hint="MODEL.bnn|PKG")
        return
    (name,) = parse_list(target, ("c", "cuda"), "--target")[:1]
    graph = lowered_network(network, parse_overrides(define))
    if name == "c":
        (images,) = [positive(item) for item in parse_list(batch or "16", (), "--batch")][:1]
        _tune_c(graph, march, images, seconds, store)
    else:
        batches = tuple(
            sorted(positive(item) for item in parse_list(batch or "1,16,256,4096", (), "--batch"))
        )
        _tune_cuda(graph, gpu, batches, rounds, store)
    say(f"kept in {store.path}; bnncc compile reads it (--no-tuned: not)")


def lowered_network(network: Path, overrides: dict[str, str]) -> BitGraph:
    """Return a package, or a network with random weights, as the bit level."""
    from bnncc.codegen.package import Package
    from bnncc.driver import load_model
    from bnncc.passes.bind_weights import BindWeights
    from bnncc.passes.pipeline import lower_network
    from bnncc.runtime.contents import graph_of
    from bnncc.weights import random_weights

    if network.suffix == ".bnnpkg":
        return lower_network(graph_of(Package.load(network)))
    graph = load_model(network, overrides).graph
    weights = random_weights(graph, 0)
    return lower_network(BindWeights(weights=weights.arrays, origin="random weights").run(graph))


def _tune_c(graph: BitGraph, march: str, images: int, seconds: float, store: TuningStore) -> None:
    from bnncc.runtime.native import machine_named
    from bnncc.runtime.tuning.cpu import CpuTuning, tuned_cut
    from bnncc.targets.c.target import CTarget
    from bnncc.targets.lowering import lower_for
    from bnncc.toolchain.host_compiler import find_c_compiler

    compiler = find_c_compiler()
    machine = machine_named(march, compiler)
    program = lower_for(graph, CTarget.for_machine(machine)).program
    tuning = CpuTuning(machine=machine, compiler=compiler, images=images, budget_s=seconds, say=say)
    say(f"{tuning.place.device}; one thread, batch {images}")
    found = {entry.problem: entry for entry in tuning.entries(program)}
    store.add(found.values())
    cut, _ = tuned_cut(program, found)
    if not cut.to_texts():
        emit("the usual way is the fastest in every layer")
        return
    whole = tuning.gain(program, cut)
    emit(
        f"the network: {whole.gain:.3f}x the usual way, {1e6 * whole.usual_s:.1f} us before, "
        f"spread {whole.spread:.0%}, {whole.rounds} rounds"
    )


def _tune_cuda(graph: BitGraph, gpu: int, batches: tuple[int, ...], rounds: int, store: TuningStore) -> None:
    from bnncc.runtime.backends import own_images
    from bnncc.runtime.cuda import CudaSession
    from bnncc.runtime.tuning.gpu import GpuTuning, arch_of
    from bnncc.toolchain.find_cuda import find_cuda_compiler

    session = CudaSession(gpu)
    try:
        compiler, capability = find_cuda_compiler(), session.device.capability
        tuning = GpuTuning(
            session=session,
            arch=arch_of(capability),
            compiler=compiler,
            images_of=lambda artifact: own_images(compiler, artifact, capability),
            batches=batches,
            rounds=rounds,
            say=say,
        )
        store.add(tuning.entries(graph))
    finally:
        session.close()


def _show(store: TuningStore) -> None:
    entries = store.entries()
    for place in dict.fromkeys(entry.place for entry in entries):
        emit(f"{place.target}: {place.device}; {place.compiler}; bnncc {place.bnncc}")
        for entry in (entry for entry in entries if entry.place == place):
            emit(f"  {entry.problem}\n    {entry.choice}: {entry.measured}")
    if not entries:
        say(f"nothing was measured yet: there is no {store.path}")
