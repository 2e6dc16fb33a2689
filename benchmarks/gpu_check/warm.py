"""Compiles what is timed later, while the checks run: afterwards it comes from caches."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from benchmarks.gpu_check.checks import targets
from benchmarks.gpu_check.cutlass import built, shapes
from benchmarks.gpu_check.device import KERNELS, Bench, Machine, kernel_source
from benchmarks.gpu_check.driver import Rows
from benchmarks.gpu_check.network_times import TIMED, TIMED_BATCHES
from benchmarks.gpu_check.networks import example
from benchmarks.gpu_check.operands import SIZES
from benchmarks.gpu_check.products import LAYERS, OURS, chain
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda

WORKERS: Final = 8
Job = tuple[str, Callable[[], object]]


def warm_up(machine: Machine) -> Rows:
    """Compile everything; a row for what cannot be."""
    sources = [path.stem for path in sorted(KERNELS.glob("*.cu")) if path.stem != "cutlass_b1"]
    jobs: list[Job] = [(name, partial(_kernels, machine, name)) for name in sources]
    jobs += [(f"CUTLASS {shape}", partial(built, machine.arch, shape)) for shape in shapes(machine.arch)]
    with machine.bench() as bench, ThreadPoolExecutor(WORKERS) as pool:
        jobs += _ours(bench)
        futures = [(name, pool.submit(_said, job)) for name, job in jobs]
        yield from _torch()
        yield from (
            {"what": name, "result": future.result()} for name, future in futures if future.result() != "ok"
        )
    yield {"what": f"{len(jobs)} sources", "result": "compiled"}


def _kernels(machine: Machine, name: str) -> None:
    compile_cuda(machine.compiler, kernel_source(name), machine.arch, "cubin", cache=BuildCache.default())


def _ours(bench: Bench) -> list[Job]:
    networks: list[Job] = [
        (f"{name} {target.tier}", partial(bench.compile, example(name), target))
        for target in (CudaTarget(), *targets(bench.tiers))
        for name in TIMED
    ]
    chains: list[Job] = [
        (f"chain {size} {tier}", partial(_chain, bench, size, layers, CudaTarget(tier=tier, fuse=Fuse.LAYER)))
        for tier in OURS
        if tier in bench.tiers
        for size in SIZES
        for layers in LAYERS
    ]
    return networks + chains


def _chain(bench: Bench, size: int, layers: int, target: CudaTarget) -> None:
    bench.compile(chain(size, layers), target)


def _torch() -> Rows:
    """Compile PyTorch's networks into Inductor's cache."""
    if find_spec("torch") is None:
        return
    try:
        from benchmarks.gpu_check.torch_networks import WAYS, prepare

        for way in (way for way in WAYS if way.mode is not None):
            for name in TIMED:
                for images in reversed(TIMED_BATCHES):
                    prepare(name, images, way)
                    yield {"what": f"torch {name} {images} {way.name}", "result": "compiled"}
    except Exception as error:  # noqa: BLE001 - whatever a compiler in the making may raise
        yield {"what": "torch.compile", "result": f"not compiled: {type(error).__name__}: {error}"[:600]}


def _said(job: Callable[[], Any]) -> str:
    try:
        job()
    except Exception as error:  # noqa: BLE001 - the part that needs it says so again
        return f"not compiled: {error}"[:600]
    return "ok"
