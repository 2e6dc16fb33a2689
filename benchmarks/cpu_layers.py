"""Speed of the generated C: layers, products of matrices, whole networks, as fractions of what is possible.

The limits of the processor (`cpu_peaks`) are measured before each block of calls, one thread on CPU time; the
best call of a block stands against the best window of the limits, and the median of blocks counts. So
what else the machine does disturbs little. Two threads are timed on the wall, best call against best.

Run it as ``python benchmarks/cpu_layers.py [--two-threads] [--only part of a name]``.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cpu_peaks import STREAM_BYTES, call_timer, measures, processor

from bnncc.driver import load_model
from bnncc.ir import bit, kernel
from bnncc.ir.graph import Graph, Output, digest_of, freeze
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value
from bnncc.ir.window import Window, border_taps
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.lower_to_kernels import LowerToKernels
from bnncc.passes.pipeline import lower_network
from bnncc.passes.plan_memory import PlanMemory
from bnncc.runtime.native import build_library, machine_named
from bnncc.targets.c.target import CTarget
from bnncc.targets.lowering import lower_for
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import HostCompiler, find_c_compiler
from bnncc.weights import random_weights

SAME = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
POOL = Window(kernel=(2, 2), stride=(2, 2))
EXAMPLES = Path(__file__).parents[1] / "examples"
BLOCK_S = 0.004
LONGEST_S = 2.0
"""No case is measured for longer than this, in seconds of single calls."""


@dataclass(frozen=True)
class Case:
    """One layer: its name, input, outputs, window (None: dense), pooling, border table, images."""

    name: str
    elem: Elem
    shape: tuple[int, ...]
    outputs: int
    window: Window | None
    pool: Window | None
    has_border: bool
    images: int


@dataclass(frozen=True)
class NetworkCase:
    """A network of the examples, with random weights."""

    name: str
    file: str
    images: int


CASES = (
    Case("conv1 u8 3->128 @32", Elem.U8, (3, 32, 32), 128, SAME, None, True, 1),
    Case("conv2 128->128 @32 pool", Elem.SIGN, (128, 32, 32), 128, SAME, POOL, True, 1),
    Case("conv3 128->256 @16", Elem.SIGN, (128, 16, 16), 256, SAME, None, True, 1),
    Case("conv4 256->256 @16 pool", Elem.SIGN, (256, 16, 16), 256, SAME, POOL, True, 1),
    Case("conv5 256->512 @8", Elem.SIGN, (256, 8, 8), 512, SAME, None, True, 1),
    Case("conv6 512->512 @8 pool", Elem.SIGN, (512, 8, 8), 512, SAME, POOL, True, 1),
    Case("conv 64->64 @56", Elem.SIGN, (64, 56, 56), 64, SAME, None, True, 1),
    Case("conv 128->128 @28", Elem.SIGN, (128, 28, 28), 128, SAME, None, True, 1),
    Case("conv 256->256 @14", Elem.SIGN, (256, 14, 14), 256, SAME, None, True, 1),
    Case("dense 8192->1024 b1", Elem.SIGN, (512, 4, 4), 1024, None, None, False, 1),
    Case("dense 8192->1024 b16", Elem.SIGN, (512, 4, 4), 1024, None, None, False, 16),
    Case("dense 4096->4096 b1", Elem.SIGN, (4096,), 4096, None, None, False, 1),
    Case("dense 4096->4096 b16", Elem.SIGN, (4096,), 4096, None, None, False, 16),
    Case("GEMM 2048^3", Elem.SIGN, (2048,), 2048, None, None, False, 2048),
    Case("GEMM 4096^3", Elem.SIGN, (4096,), 4096, None, None, False, 4096),
    Case("GEMM 8192^3", Elem.SIGN, (8192,), 8192, None, None, False, 8192),
    Case("dense u8 784->4096 b1", Elem.U8, (784,), 4096, None, None, False, 1),
    Case("dense u8 784->4096 b16", Elem.U8, (784,), 4096, None, None, False, 16),
    NetworkCase("ConvNet b1", "cifar10_convnet.bnn", 1),
    NetworkCase("ConvNet b16", "cifar10_convnet.bnn", 16),
    NetworkCase("ConvNet b100", "cifar10_convnet.bnn", 100),
    NetworkCase("MLP b1", "mnist_mlp.bnn", 1),
    NetworkCase("MLP b16", "mnist_mlp.bnn", 16),
    NetworkCase("MLP b100", "mnist_mlp.bnn", 100),
)


def graph_of(case: Case) -> bit.BitGraph:
    """Return the layer alone: packed signs in, packed signs out (no unpacking is measured)."""
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {}

    def constant(elem: Elem, array: Any) -> ConstRef:
        frozen = freeze(array)
        constants[digest_of(frozen)] = frozen
        return ConstRef("c", TensorType(elem, frozen.shape), digest_of(frozen))

    packed = Layout.NHWC_WORDS64
    layout = packed if case.elem is Elem.SIGN else Layout.PLAIN
    x = Value("x", TensorType(case.elem, case.shape, layout))
    border = border_taps(case.window, *case.shape[1:]).border if case.window and case.has_border else None
    size = () if case.window is None else case.window.output_size(*case.shape[1:])
    size = case.pool.output_size(*size) if case.pool else size
    y = Value("y", TensorType(Elem.SIGN, (case.outputs, *size), packed))
    taps = (case.outputs, int(np.prod(case.shape)))
    if case.window is not None:
        taps = (case.outputs, case.shape[0], *case.window.kernel)
    layer = bit.Layer(
        result=y,
        x=x,
        weight=constant(Elem.SIGN, rng.choice(np.array([-1, 1], np.int8), taps)),
        window=case.window,
        epilogue=bit.ToSigns(
            bounds=constant(
                Elem.I32, rng.integers(-9, 9, (border.classes if border else 1, case.outputs), dtype=np.int32)
            ),
            border=border,
            flips=None,
            pool=case.pool,
            flips_after_pool=None,
        ),
    )
    return Graph(name="layer", inputs=(x,), nodes=(layer,), outputs=(Output("y", y),), constants=constants)


def program_of(case: Case | NetworkCase, target: CTarget) -> KernelProgram:
    """Return the kernel program of a case: packed signs in and out for a layer."""
    if isinstance(case, Case):
        return PlanMemory(1).run(LowerToKernels(target.storage).run(graph_of(case)))
    graph = load_model(EXAMPLES / case.file, {}).graph
    bound = BindWeights(weights=random_weights(graph, 0).arrays, origin="random").run(graph)
    return lower_for(lower_network(bound), target).program


def work_of(program: KernelProgram) -> dict[str, int]:
    """Return the multiply-adds for one image by the limit that they stand under."""
    work = {"xnor": 0, "dot": 0, "tables": 0}
    for node in program.graph.nodes:
        if isinstance(node, kernel.XnorLayer | kernel.IntegerLayer):
            rows, columns = node.window.output_size(*node.x.type.spatial)
            kind = "xnor" if isinstance(node, kernel.XnorLayer) else "tables" if node.is_tabled else "dot"
            work[kind] += node.x.type.channels * node.window.taps * node.outputs * rows * columns
    return work


class Subject:
    """A compiled case on fixed buffers, called without Python in between."""

    def __init__(
        self, case: Case | NetworkCase, target: CTarget, compiler: HostCompiler, cache: BuildCache
    ) -> None:
        self.name, self.images = case.name, case.images
        program = program_of(case, target)
        self.work, self.weights_bytes = work_of(program), program.blob_bytes
        artifact = target.emit(program)
        library = ctypes.CDLL(str(build_library(artifact, compiler, cache)))
        run = ctypes.cast(getattr(library, f"{artifact.prefix}_run_parallel"), ctypes.c_void_p)
        ports = (*artifact.inputs, *artifact.outputs)
        library.bnncc_threads_start.restype = ctypes.c_void_p
        rng = np.random.default_rng(1)
        sizes = [4 * int(np.prod(port.shape)) * case.images for port in ports]
        self.buffers = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
        self.weights = aligned(program.blob_bytes)
        self.weights[: program.blob_bytes] = np.frombuffer(program.blob(), np.uint8)
        self.workspace = aligned(artifact.parallel_workspace_bytes(case.images, 2))
        fixed = [run, self.weights.ctypes.data, *(buffer.ctypes.data for buffer in self.buffers)]
        fixed += [case.images, self.workspace.ctypes.data]
        for_each = ctypes.cast(library.bnncc_threads_for_each, ctypes.c_void_p)
        pools = {1: None, 2: library.bnncc_threads_start(2)}
        timer = call_timer(compiler, cache)

        def seconds(calls: int, clock: int, threads: int) -> float:
            return float(timer(calls, clock, *fixed, threads, for_each, pools[threads]))

        self.seconds = seconds
        self.calls = max(1, int(BLOCK_S / max(1e-7, seconds(3, time.CLOCK_THREAD_CPUTIME_ID, 1))))

    def cpu_seconds(self) -> float:
        """Return the least CPU time of a call of a block, on one thread."""
        return self.seconds(self.calls, time.CLOCK_THREAD_CPUTIME_ID, 1)

    def wall_seconds(self, threads: int) -> float:
        """Return the least time of a call of a longer block, on the wall: threads have to meet."""
        return self.seconds(16 * self.calls, time.CLOCK_MONOTONIC, threads)

    def least_seconds(self, limits: Mapping[str, float]) -> float:
        """Return how long a call takes at the limits: of computing, and of reading weights for one image."""
        computing = self.images * sum(work / limits[kind] for kind, work in self.work.items() if work)
        is_read = self.images == 1 and self.weights_bytes > 1 << 20 and "read" in limits
        return max(computing, self.weights_bytes / limits["read"] if is_read else 0.0)


def aligned(size_bytes: int) -> Any:
    """Return zeroed memory aligned to 64 bytes."""
    memory = np.zeros(size_bytes + 128, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size_bytes + 64]


@dataclass(frozen=True)
class Timing:
    """CPU seconds of a call on one thread, and what fraction of the limits that is; one figure a block."""

    seconds: list[float]
    fractions: list[float]


def one_thread(
    subject: Subject, peaks: Mapping[str, Callable[[], float]], blocks: int, highest: dict[str, float]
) -> Timing:
    """Return the time of ``subject``; the limits are measured before each block."""
    timing = Timing([], [])
    for _ in range(blocks):
        limits = {name: measure() for name, measure in peaks.items()}
        seconds = subject.cpu_seconds()
        highest.update({name: max(highest.get(name, 0.0), limit) for name, limit in limits.items()})
        timing.seconds.append(seconds)
        timing.fractions.append(subject.least_seconds(limits) / seconds)
        if sum(timing.seconds) > LONGEST_S:
            break
    return timing


def two_threads(subject: Subject, blocks: int) -> float:
    """Return how many times faster two threads are, best against best, blocks in turn."""
    alone = together = float("inf")
    for _ in range(blocks):
        alone = min(alone, subject.wall_seconds(1))
        together = min(together, subject.wall_seconds(2))
    return alone / together


def row(subject: Subject, timing: Timing, gain: float | None) -> str:
    """Return a line of the table."""
    macs = subject.images * sum(subject.work.values())
    median = statistics.median(timing.seconds)
    cells = [
        subject.name,
        f"{1e6 * min(timing.seconds):,.1f}",
        f"{1e6 * median:,.1f}",
        f"{macs / median / 1e9:,.0f}",
    ]
    middle, lowest, highest = (100 * pick(timing.fractions) for pick in (statistics.median, min, max))
    cells += [f"{middle:.1f} % [{lowest:.0f}-{highest:.0f}]", "" if gain is None else f"{gain:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--march", default="native")
    parser.add_argument("--blocks", type=int, default=25)
    parser.add_argument("--only", default="", help="part of the name of the cases to run")
    parser.add_argument("--two-threads", action="store_true")
    parser.add_argument("--cache", type=Path, default=None)
    options = parser.parse_args()
    compiler = find_c_compiler()
    cache = BuildCache(options.cache) if options.cache else BuildCache.default()
    machine = machine_named(options.march, compiler)
    target = CTarget.for_machine(machine)
    cpus = os.sched_getaffinity(0)
    peaks = measures(machine, compiler, cache)
    highest: dict[str, float] = {}
    print(f"{compiler.version}; {machine.name}, form {machine.form.value}")
    print(f"{os.cpu_count()} CPUs ({processor()}), load {os.getloadavg()[0]:.1f}; {options.blocks} blocks")
    print(
        "\n| case | best us | median us | G MAC/s | of the limit | two threads |\n|---|---|---|---|---|---|"
    )
    for case in CASES:
        if options.only not in case.name:
            continue
        os.sched_setaffinity(0, cpus)
        subject = Subject(case, target, compiler, cache)
        gain = two_threads(subject, options.blocks) if options.two_threads else None
        os.sched_setaffinity(0, {max(cpus)})
        print(row(subject, one_thread(subject, peaks, options.blocks, highest), gain), flush=True)
    shown = ", ".join(f"{name} {limit / 1e9:,.0f} G/s" for name, limit in highest.items())
    print(f"\nlimits: {shown} (read: of {STREAM_BYTES} bytes)")


if __name__ == "__main__":
    main()
