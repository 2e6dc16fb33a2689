"""How long our networks take: every tier, a launch a layer and in one kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import numpy as np

from benchmarks.gpu_check.checks import targets
from benchmarks.gpu_check.device import Bench, Machine
from benchmarks.gpu_check.driver import Array, Rows
from benchmarks.gpu_check.measure import Stopwatch
from benchmarks.gpu_check.networks import example
from benchmarks.gpu_check.on_device import SETS, placed
from bnncc.diagnostics import BnnccError
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.reference.program import run_program
from bnncc.runtime.cuda import CudaExecutable
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from tests.cuda_programs import inputs_of

TIMED: Final = ("mnist_mlp", "cifar10_convnet")
TIMED_BATCHES: Final = (1, 256, 4096)
CHECKED_IMAGES: Final = 4
REPEATS: Final = 20


def time_networks(machine: Machine) -> Rows:
    """Time whole runs; first the forms that are chosen by themselves, then every other."""
    with machine.bench() as bench:
        watch = Stopwatch(machine)
        forms = [CudaTarget(), *targets([tier for tier in bench.tiers if tier is not Tier.AUTO])]
        for target in forms:
            for name in TIMED:
                try:
                    yield from _timed(machine, bench, watch, name, target)
                except BnnccError as error:
                    yield {**_about(name, target), "result": f"FAILED: {error}"}


def profile_networks(machine: Machine) -> Rows:
    """Time every launch of the networks, in the form that is chosen and in one launch a layer."""
    with machine.bench() as bench:
        for name in TIMED:
            program = example(name)
            executable = bench.load(program, CudaTarget(fuse=Fuse.LAYER))
            for images in TIMED_BATCHES:
                for launch in executable.profile(inputs_of(program, images), repeats=REPEATS):
                    yield {
                        "network": name,
                        "images": images,
                        "launch": launch.node,
                        "kernel": launch.kernel,
                        "device_us": round(launch.seconds * 1e6, 2),
                    }
            executable.close()


def sampled(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the first and last images of a batch."""
    return {name: _ends(array) for name, array in inputs.items()}


def _ends(array: Array) -> Array:
    if len(array) <= 2 * CHECKED_IMAGES:
        return array
    return np.concatenate([array[:CHECKED_IMAGES], array[-CHECKED_IMAGES:]])


def _timed(
    machine: Machine, bench: Bench, watch: Stopwatch, name: str, target: CudaTarget
) -> Iterator[dict[str, Any]]:
    program = example(name)
    with ExitStack() as stack:
        executable = bench.load(program, target)
        stack.callback(executable.close)
        for images in TIMED_BATCHES:
            yield _timed_batch(machine, watch, (name, target), (program, executable), images)


def _timed_batch(
    machine: Machine,
    watch: Stopwatch,
    form: tuple[str, CudaTarget],
    loaded: tuple[KernelProgram, CudaExecutable],
    images: int,
) -> dict[str, Any]:
    program, executable = loaded
    inputs = [inputs_of(program, images, seed=seed) for seed in range(SETS)]
    with placed(machine, program, executable, inputs) as (calls, outputs):
        timing = watch.time(calls)
        expected = run_program(program, sampled(inputs[-1]))
        wrong = []
        for output, view in outputs[-1].items():
            found = machine.driver.download(view.buffer, view.dtype, view.count).reshape(view.shape)
            if not np.array_equal(_ends(found), expected[output]):
                wrong.append(output)
    return {
        **_about(*form),
        "images": images,
        **timing.row(),
        "images_per_s": round(images / timing.seconds),
        "result": f"FAILED: {', '.join(wrong)}" if wrong else "ok",
        "how": executable.how(images),
    }


def _about(name: str, target: CudaTarget) -> dict[str, Any]:
    fuse = "" if target.fuse is Fuse.LAYER else f", {target.fuse.value}"
    return {"network": name, "who": "bnncc", "kernels": f"{target.tier.value}{fuse}"}
