"""How fast bytes come from device memory and from the L2 cache."""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Rows, Shape, differing
from benchmarks.gpu_check.measure import Stopwatch

READ_BYTES: Final = 4 << 30
L2_BYTES: Final = 16 << 20
STAGE_BYTES, STAGES = 32 << 10, 4
COPIES: Final = 512


def measure_bandwidth(machine: Machine, read_bytes: int = READ_BYTES, copies: int = COPIES) -> Rows:
    """Return bytes a second: reads and copies of device memory, bulk copies from the L2 to shared memory."""
    driver, watch = machine.driver, Stopwatch(machine)
    sms = driver.multiprocessors
    kernels = machine.kernels("copies", "read_all", "copy_all")
    blocks = 4 * sms
    with driver.buffers(x=read_bytes, copy=read_bytes // 2, y=4 * blocks) as buffers:
        words = np.random.default_rng(1).integers(0, 1 << 32, 1 << 18, np.uint32)
        driver.upload(buffers["x"], words)
        shape = Shape(grid=(blocks,), block=512)
        for name, moved, target in (("read_all", read_bytes, "y"), ("copy_all", read_bytes // 2, "copy")):
            arguments = [buffers["x"], buffers[target], ctypes.c_size_t(moved // 16)]
            timing = watch.time([lambda: kernels[name].launch(shape, arguments)], rounds=9, at_least=2)  # noqa: B023 - called at once
            factor = 2 if name == "copy_all" else 1  # a copy reads and writes
            row = {
                "what": name,
                "gb": moved / 1e9,
                "tb_per_s": round(factor * moved / timing.seconds / 1e12, 3),
            }
            if name == "copy_all":
                row["result"] = differing(driver.download(buffers["copy"], np.uint32, words.size), words)
            yield {**row, **timing.row()}
    if machine.arch == "sm_90a":
        yield _bulk(machine, watch, copies)


def _bulk(machine: Machine, watch: Stopwatch, copies: int) -> dict[str, object]:
    driver, sms = machine.driver, machine.driver.multiprocessors
    kernel = machine.kernels("copies", "bulk_copies")["bulk_copies"]
    parts = L2_BYTES // STAGE_BYTES
    with driver.buffers(x=L2_BYTES, y=4 * sms) as buffers:
        first = np.random.default_rng(2).integers(0, 1 << 32, parts, np.uint32)
        image = np.zeros((parts, STAGE_BYTES // 4), np.uint32)
        image[:, 0] = first
        driver.upload(buffers["x"], image)
        shape = Shape(grid=(sms,), block=128, shared_bytes=STAGES * STAGE_BYTES)
        arguments = [buffers["x"], buffers["y"], parts, copies]
        timing = watch.time([lambda: kernel.launch(shape, arguments)], at_least=4)
        found = driver.download(buffers["y"], np.uint32, sms)
    expected = [np.bitwise_xor.reduce(first[(block + np.arange(copies)) % parts]) for block in range(sms)]
    rate = sms * copies * STAGE_BYTES / timing.seconds
    row = {"what": "bulk copies, L2 to shared memory", "tb_per_s": round(rate / 1e12, 3)}
    return {**row, "result": differing(found, np.array(expected, np.uint32)), **timing.row()}
