"""Occupancy: published limits, worked values, and NVIDIA's own calculator where a toolkit is installed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from bnncc.diagnostics import PlatformError
from bnncc.targets.cuda.device import DEVICES
from bnncc.toolchain.cuda_compiler import ARCHITECTURES, toolkit_roots
from bnncc.toolchain.occupancy import LIMITS, KernelNeeds, Limiter, device_limits, occupancy

# The programming guide's table, column by column: blocks, warps, threads, KiB of shared memory, of one block.
PUBLISHED = {
    (7, 5): (16, 32, 1024, 64, 64),
    (8, 0): (32, 64, 2048, 164, 163),
    (8, 6): (16, 48, 1536, 100, 99),
    (8, 7): (16, 48, 1536, 164, 163),
    (8, 9): (24, 48, 1536, 100, 99),
    (9, 0): (32, 64, 2048, 228, 227),
    (10, 0): (32, 64, 2048, 228, 227),
    (10, 3): (32, 64, 2048, 228, 227),
    (11, 0): (24, 48, 1536, 228, 227),
    (12, 0): (24, 48, 1536, 100, 99),
}
FACTORS = {
    Limiter.WARPS: 1,
    Limiter.REGISTERS: 2,
    Limiter.SHARED: 4,
    Limiter.BLOCKS: 8,
    Limiter.BARRIERS: 16,
}


def test_the_table_is_the_published_one():
    assert {
        item.capability: (
            item.blocks,
            item.warps,
            item.threads,
            item.shared_bytes >> 10,
            item.block_shared_bytes >> 10,
        )
        for item in LIMITS
    } == PUBLISHED


# (architecture, threads, registers, shared bytes, barriers) to (blocks, limiter), worked by hand.
WORKED = [
    ("sm_80", 256, 32, 0, 1, 8, Limiter.WARPS),  # 2048 threads x 32 are exactly the register file
    ("sm_80", 256, 31, 0, 1, 8, Limiter.WARPS),
    ("sm_80", 256, 33, 0, 1, 6, Limiter.REGISTERS),  # 1280 a warp: 12 warps a partition
    ("sm_90a", 128, 24, 0, 1, 16, Limiter.WARPS),
    ("sm_90a", 32, 24, 0, 1, 32, Limiter.BLOCKS),
    ("sm_90a", 128, 24, 0, 16, 4, Limiter.BARRIERS),
    ("sm_90a", 384, 168, 227 << 10, 1, 1, Limiter.REGISTERS),
    ("sm_90a", 128, 64, 227 << 10, 1, 1, Limiter.SHARED),
    ("sm_90a", 128, 64, (227 << 10) + 1, 1, 0, Limiter.SHARED),
    ("sm_90a", 128, 64, 113 << 10, 1, 2, Limiter.SHARED),  # 2 x (113 + 1) KiB are all
    ("sm_90a", 128, 64, (113 << 10) + 1, 1, 1, Limiter.SHARED),
    ("sm_86", 128, 40, 24 << 10, 1, 4, Limiter.SHARED),  # 4 x (24 + 1) KiB are all
    ("sm_75", 128, 40, 16 << 10, 1, 4, Limiter.SHARED),  # nothing reserved
    ("sm_75", 256, 64, 0, 1, 4, Limiter.WARPS),
    ("sm_75", 64, 16, 0, 1, 16, Limiter.WARPS),
    ("sm_120", 512, 128, 0, 1, 1, Limiter.REGISTERS),
    ("sm_80", 1024, 65, 0, 1, 0, Limiter.REGISTERS),  # 72 x 1024 registers
    ("sm_80", 32, 255, 0, 1, 8, Limiter.REGISTERS),
    ("sm_80", 1056, 16, 0, 1, 0, Limiter.WARPS),
]


@pytest.mark.parametrize(("arch", "threads", "registers", "shared", "barriers", "blocks", "limiter"), WORKED)
def test_worked_values(arch, threads, registers, shared, barriers, blocks, limiter):
    needs = KernelNeeds(threads=threads, registers=registers, shared_bytes=shared, barriers=barriers)
    found = occupancy(device_limits(arch), needs)
    assert (found.blocks, found.limiter) == (blocks, limiter)
    assert found.warps == blocks * -(-threads // 32) <= found.max_warps


def test_text():
    needs = KernelNeeds(threads=384, registers=168)
    assert str(occupancy(device_limits("sm_90a"), needs)) == "12/64 warps (registers)"


def test_names():
    assert device_limits("sm_100a").capability == (10, 0)
    assert device_limits("compute_75").capability == (7, 5)
    assert device_limits((12, 1)).capability == (12, 0), "the newest described one of its generation"
    for unknown in ("sm_72", "sm_130", "gfx90a"):
        with pytest.raises(PlatformError):
            device_limits(unknown)


def test_every_architecture_that_code_is_made_for_is_described():
    for arch in (*ARCHITECTURES, *DEVICES):
        assert f"sm_{''.join(map(str, device_limits(arch).capability))}" == arch.rstrip("af")


def test_against_nvidias_calculator(tmp_path):
    roots = [root for root in toolkit_roots(os.environ) if (root / "include" / "cuda_occupancy.h").is_file()]
    compiler = shutil.which("cc")
    if not roots or compiler is None:
        pytest.skip("cuda_occupancy.h and a C compiler are needed")
    source, program = Path(__file__).with_name("cuda_occupancy_table.c"), tmp_path / "table"
    subprocess.run([compiler, "-I", roots[0] / "include", source, "-o", program], check=True)
    draw = random.Random(5)
    cases = [
        (
            limits,
            KernelNeeds(
                threads=draw.choice((draw.randint(1, 1024), 32 * draw.randint(1, 32))),
                registers=draw.randint(1, 255),
                shared_bytes=draw.choice((0, draw.randint(0, 240 << 10), draw.randint(0, 16 << 10))),
                barriers=draw.randint(1, 16),
            ),
        )
        for limits in LIMITS
        for _ in range(400)
    ]
    lines = [
        f"{limits.capability[0]} {limits.capability[1]} {limits.threads} {limits.shared_bytes} "
        f"{limits.block_shared_bytes} {limits.reserved_shared_bytes} "
        f"{needs.threads} {needs.registers} {needs.shared_bytes} {needs.barriers}\n"
        for limits, needs in cases
    ]
    done = subprocess.run([program], input="".join(lines), capture_output=True, text=True, check=True)
    answers = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases)
    for (limits, needs), (status, blocks, factors) in zip(cases, answers, strict=True):
        found = occupancy(limits, needs)
        assert status == 0
        assert (found.blocks, limits, needs) == (blocks, limits, needs)
        assert FACTORS[found.limiter] & factors, (limits, needs, found)
