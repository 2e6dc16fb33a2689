"""The parts of the check; each returns rows for the report."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_check.device import POISON, Bench
from benchmarks.gpu_check.executor import check_executor
from benchmarks.gpu_check.networks import NAMES, example
from benchmarks.gpu_check.rates import measure_rates
from bnncc.diagnostics import BnnccError
from bnncc.ir.kernel import KernelOp, KernelProgram, XnorLayer
from bnncc.ir.reference.program import run_program
from bnncc.runtime.cuda import LaunchTime
from bnncc.targets.cuda.artifact import PersistentLaunch
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from tests.codegen.cuda.layer_groups import GROUPS
from tests.cuda_programs import inputs_of

Rows = list[dict[str, Any]]
Part = Callable[[Bench], Rows]

ODD_BATCHES = (1, 7, 8, 9, 33)
TIMED_BATCHES = (1, 256, 4096)
NETWORK_BATCHES = (1, 9, 65)
REPEATS = 30
WHOLE_RUNS = 5
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def check_layers(bench: Bench) -> Rows:
    """Compare every layer group in every tier, at odd sizes and poisoned memory, with the reference."""
    return [row for make in GROUPS for row in _all_tiers(bench, make.__name__, make(), ODD_BATCHES)]


def check_networks(bench: Bench) -> Rows:
    """Compare whole networks with the reference."""
    return [row for name in NAMES for row in _all_tiers(bench, name, example(name), NETWORK_BATCHES)]


def time_networks(bench: Bench) -> Rows:
    """Time every launch of the networks in every tier by CUDA events, and whole runs by the clock."""
    rows: Rows = []
    for name, tier in product(NAMES, bench.tiers):
        program = example(name)
        executable = bench.load(program, tier)
        for images in TIMED_BATCHES:
            inputs = inputs_of(program, images)
            executable.run(inputs)
            launches = executable.profile(inputs, repeats=REPEATS)
            for launch in launches:
                rows.append(_timed_launch(program, name, tier, images, launch))
            total = sum(launch.seconds for launch in launches)
            whole = statistics.median(_seconds(lambda: executable.run(inputs)) for _ in range(WHOLE_RUNS))  # noqa: B023 - called at once
            rows.append(
                {
                    "network": name,
                    "tier": tier.value,
                    "images": images,
                    "launch": "all",
                    "device_us": round(total * 1e6, 2),
                    "with_copies_us": round(whole * 1e6, 1),
                    "images_per_s": round(images / total),
                }
            )
        executable.close()
    return rows


def run_sanitizer(bench: Bench) -> Rows:  # noqa: ARG001 - the child opens its own session
    """Run the layers part under each tool of compute-sanitizer, in a child process."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(program).exists():
        return [{"tool": "compute-sanitizer", "result": "not found on PATH nor in /usr/local/cuda/bin"}]
    rows: Rows = []
    for tool in SANITIZER_TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m"]
        command += ["benchmarks.gpu_check", "--parts", "small", "--no-files"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
            status = "ok" if done.returncode == 0 else f"FAILED: {(done.stdout + done.stderr)[-600:]}"
        except subprocess.TimeoutExpired:
            status = "not finished in 180 s"
        rows.append({"tool": tool, "result": status})
    return rows


def check_small(bench: Bench) -> Rows:
    """Compare a few groups only; what the sanitizer can do in a minute."""
    rows: Rows = []
    for make in GROUPS:
        if make.__name__ in ("dense_stores", "conv_stores", "integer_conv", "signs_of_values"):
            rows += _all_tiers(bench, make.__name__, make(), (3,))
    return rows


PARTS: dict[str, Part] = {
    "layers": check_layers,
    "networks": check_networks,
    "timing": time_networks,
    "sanitizer": run_sanitizer,
    "small": check_small,
    "executor": check_executor,
    "rates": measure_rates,
}
"""By name; ``small`` is part of ``layers`` and runs only when asked for."""


def _all_tiers(bench: Bench, name: str, program: KernelProgram, batches: tuple[int, ...]) -> Rows:
    """Return the comparison of ``program`` in every tier; once where it has no binary layer."""
    has_choice = any(isinstance(node, XnorLayer) for node in program.graph.nodes)
    tiers = bench.tiers if has_choice else bench.tiers[:1]
    return [row for tier in tiers for row in _compared(bench, name, program, tier, batches)]


def _compared(bench: Bench, name: str, program: KernelProgram, tier: Tier, batches: tuple[int, ...]) -> Rows:
    """Return one row a batch size: ok, or the outputs that differ."""
    case = {"case": name, "tier": tier.value}
    try:
        executable = bench.load(program, tier, poison=POISON)
    except BnnccError as error:
        return [{**case, "images": 0, "result": f"FAILED: {error}"}]
    rows: Rows = []
    for images in batches:
        inputs = inputs_of(program, images, seed=images)
        expected = run_program(program, inputs)
        try:
            found = executable.run(inputs)
        except BnnccError as error:
            rows.append({**case, "images": images, "result": f"FAILED: {error}"})
            break  # after a fault the context is unusable
        wrong = [key for key, array in found.items() if not np.array_equal(array, expected[key])]
        result = f"FAILED: {', '.join(wrong)}" if wrong else "ok"
        rows.append({**case, "images": images, "result": result})
    else:
        executable.close()
    return rows


def _timed_launch(
    program: KernelProgram, name: str, tier: Tier, images: int, timed: LaunchTime
) -> dict[str, Any]:
    artifact = CudaTarget(tier=tier).emit(program)
    launch = next(
        item for item in (*artifact.all_launches, *artifact.persistent) if item.kernel == timed.kernel
    )
    is_whole = isinstance(launch, PersistentLaunch)
    traffic, seconds = launch.traffic, timed.seconds
    moved = images * (traffic.read_bytes_per_image + traffic.written_bytes_per_image) + traffic.constant_bytes
    row: dict[str, Any] = {
        "network": name,
        "tier": tier.value,
        "images": images,
        "launch": timed.node,
        "kernel_tier": "persistent" if is_whole else launch.tier,
        "device_us": round(seconds * 1e6, 2),
        "gb_per_s": round(moved / seconds / 1e9, 1),
    }
    written = launch.written if is_whole else {timed.node}
    macs = sum(_binary_macs(op) for op in program.graph.nodes if op.result.name in written)
    if macs:
        row["binary_tops"] = round(2 * images * macs / seconds / 1e12, 3)
    return row


def _binary_macs(op: KernelOp) -> int:
    if not isinstance(op, XnorLayer):
        return 0
    height, width = op.window.output_size(*op.x.type.spatial)
    return op.outputs * height * width * op.fan_in_bits


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
