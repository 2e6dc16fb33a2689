"""The generated C: a layer, a product of matrices or a network, compiled and called on fixed buffers."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cpu.peaks import call_timer
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
from bnncc.runtime.native import build_library
from bnncc.targets.c.target import CTarget
from bnncc.targets.lowering import lower_for
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import HostCompiler
from bnncc.weights import random_weights

SAME = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
POOL = Window(kernel=(2, 2), stride=(2, 2))
EXAMPLES = Path(__file__).parents[2] / "examples"
BLOCK_S = 0.004
INPUT_SEED = 1


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


def weights_of(case: Case) -> Any:
    """Return the weights of a layer: signs ``[outputs, ...]``, int8."""
    taps = (case.outputs, int(np.prod(case.shape)))
    if case.window is not None:
        taps = (case.outputs, case.shape[0], *case.window.kernel)
    return np.random.default_rng(0).choice(np.array([-1, 1], np.int8), taps)


def bounds_of(case: Case) -> Any:
    """Return the sums from which an output is +1, ``[border classes, outputs]``, int32."""
    border = border_of(case)
    shape = (border.classes if border else 1, case.outputs)
    return np.random.default_rng(2).integers(-9, 9, shape, dtype=np.int32)


def border_of(case: Case) -> Any:
    """Return the table of border positions of a layer; None without one."""
    return border_taps(case.window, *case.shape[1:]).border if case.window and case.has_border else None


def graph_of(case: Case) -> bit.BitGraph:
    """Return the layer alone: packed signs in, packed signs out (no unpacking is measured)."""
    constants: dict[str, Any] = {}

    def constant(elem: Elem, array: Any) -> ConstRef:
        frozen = freeze(array)
        constants[digest_of(frozen)] = frozen
        return ConstRef("c", TensorType(elem, frozen.shape), digest_of(frozen))

    packed = Layout.NHWC_WORDS64
    layout = packed if case.elem is Elem.SIGN else Layout.PLAIN
    x = Value("x", TensorType(case.elem, case.shape, layout))
    border = border_of(case)
    size = () if case.window is None else case.window.output_size(*case.shape[1:])
    size = case.pool.output_size(*size) if case.pool else size
    y = Value("y", TensorType(Elem.SIGN, (case.outputs, *size), packed))
    layer = bit.Layer(
        result=y,
        x=x,
        weight=constant(Elem.SIGN, weights_of(case)),
        window=case.window,
        epilogue=bit.ToSigns(
            bounds=constant(Elem.I32, bounds_of(case)),
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
        rng = np.random.default_rng(INPUT_SEED)
        sizes = [4 * int(np.prod(port.shape)) * case.images for port in ports]
        self.buffers = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
        self.weights = aligned(program.blob_bytes)
        self.weights[: program.blob_bytes] = np.frombuffer(program.blob(), np.uint8)
        self.workspace = aligned(artifact.parallel_workspace_bytes(case.images, 2))
        fixed = [run, self.weights.ctypes.data, *(buffer.ctypes.data for buffer in self.buffers)]
        fixed += [case.images, self.workspace.ctypes.data]
        for_each = ctypes.cast(library.bnncc_threads_for_each, ctypes.c_void_p)
        pools = {1: None, 2: library.bnncc_threads_start(2)}
        run_parallel = ctypes.CFUNCTYPE(
            ctypes.c_int,
            *[ctypes.c_void_p] * (len(ports) + 1),
            *(ctypes.c_size_t, ctypes.c_void_p) * 2,
            ctypes.c_void_p,
        )(run.value or 0)
        self.bound = {
            threads: partial(run_parallel, *fixed[1:], threads, for_each, pool)
            for threads, pool in pools.items()
        }
        timer = call_timer(compiler, cache)

        def seconds(calls: int, clock: int, threads: int) -> float:
            return float(timer(calls, clock, *fixed, threads, for_each, pools[threads]))

        self.seconds = seconds
        self.calls = max(1, int(BLOCK_S / max(1e-7, seconds(3, time.CLOCK_THREAD_CPUTIME_ID, 1))))

    def output_bits(self, shape: tuple[int, int]) -> Any:
        """Return the output of the last call, of a layer with packed outputs: bits ``[pixels, outputs]``."""
        packed = self.buffers[1][: shape[0] * shape[1] // 8]
        return np.unpackbits(packed, bitorder="little").reshape(shape)

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
