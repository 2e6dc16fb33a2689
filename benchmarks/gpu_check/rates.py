"""How fast the instructions are that the cost model counts, each in a loop of nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Array, Rows, Shape, differing
from bnncc.targets.cuda.cost import PRODUCT_MACS
from bnncc.targets.cuda.device import DEVICES

CHAINS: Final = 8
PRODUCTS: Final = 4
ITERATIONS: Final = 2048
OPERANDS: Final = 8
SEED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One kernel of ``kernels/rates.cu``.

    Args:
        instruction: as nvdisasm names it.
        macs: products of one instruction of a warp (or warpgroup); of carry-save adders, of eight words.
        warps: sizes of a block to try.
        per_step: instructions of a turn of the loop.
    """

    kernel: str
    instruction: str
    macs: int
    warps: tuple[int, ...]
    per_step: int = CHAINS

    @property
    def needs(self) -> str:
        """Return ``sm_90a``, ``sm_80`` or nothing."""
        if self.instruction == "BGMMA":
            return "sm_90a"
        return "" if self.instruction == "POPC" else "sm_80"

    @property
    def issuers(self) -> int:
        """Return the warps that make one instruction together."""
        return 4 if self.instruction == "BGMMA" else 1


RATES: Final = (
    Rate(kernel="rate_popc", instruction="POPC", macs=32 * 32, warps=(16, 32)),
    Rate(kernel="rate_carry_save", instruction="POPC", macs=8 * 32 * 32, warps=(16, 32), per_step=1),
    Rate(kernel="rate_bmma_128", instruction="BMMA", macs=PRODUCT_MACS // 2, warps=(4, 8, 16)),
    Rate(kernel="rate_bmma_256", instruction="BMMA", macs=PRODUCT_MACS, warps=(4, 8, 16)),
    Rate(kernel="rate_imma", instruction="IMMA", macs=16 * 8 * 32, warps=(4, 8, 16)),
    *(
        Rate(
            kernel=f"rate_wgmma_{columns}{where}",
            instruction="BGMMA",
            macs=64 * columns * 256,
            warps=(4, 8, 12),
            per_step=PRODUCTS,
        )
        for columns in (128, 256)
        for where in ("", "_registers")
    ),
)


def measure_rates(machine: Machine) -> Rows:
    """Return each instruction's rate in a clock of a multiprocessor, beside what the cost model assumes."""
    driver, operands = machine.driver, operand_words()
    model, sms = DEVICES[machine.arch], machine.driver.multiprocessors
    for rate in RATES:
        if not runs_on(rate, machine.arch):
            yield {"kernel": rate.kernel, "result": f"not run: it needs {rate.needs}"}
            continue
        kernel = machine.kernels("rates", rate.kernel)[rate.kernel]
        for warps in rate.warps:
            threads = 32 * warps
            with driver.buffers(x=4 * OPERANDS, y=4 * threads * sms, clocks=4 * sms) as buffers:
                driver.upload(buffers["x"], operands)
                arguments = [buffers["x"], buffers["y"], buffers["clocks"], ITERATIONS]

                def launch() -> None:
                    kernel.launch(Shape(grid=(sms,), block=threads), arguments)  # noqa: B023 - called at once

                launch()
                seconds = min(driver.seconds(launch) for _ in range(5))
                clocks = float(np.median(driver.download(buffers["clocks"], np.uint32, sms)))
                found = driver.download(buffers["y"], np.uint32, threads * sms)
            is_and = machine.arch.startswith("sm_90")
            expected = expected_total(rate, operands, ITERATIONS, is_and=is_and)
            result = differing(
                found.reshape(-1, 32).sum(1, dtype=np.uint32), expected_warps(expected, found.size // 32)
            )
            made = ITERATIONS * rate.per_step * warps / rate.issuers
            macs = made * rate.macs
            yield {
                "kernel": rate.kernel,
                "instruction": rate.instruction,
                "warps": warps,
                "instructions_per_clock_and_sm": round(made / clocks, 4),
                "products_per_clock_and_sm": round(macs / clocks),
                "assumed": assumed(rate, model),
                "ghz": round(clocks / seconds / 1e9, 3),
                "tera_ops_per_s": round(2 * macs * sms / seconds / 1e12, 1),
                "result": result,
            }


def runs_on(rate: Rate, arch: str) -> bool:
    """Return whether ``arch`` has the instruction."""
    number = int(arch.removeprefix("sm_").rstrip("a"))
    if rate.needs == "sm_90a":
        return arch == "sm_90a"
    if rate.instruction == "BMMA":
        return 80 <= number < 100
    return rate.needs != "sm_80" or number >= 80


def assumed(rate: Rate, model: object) -> object:
    """Return what the cost model says of products in a clock, where it says something."""
    name = {"rate_popc": "popcounts", "rate_bmma_256": "b1_macs", "rate_wgmma_256": "warpgroup_macs"}.get(
        rate.kernel
    )
    return "" if name is None else round(getattr(model, name) * (32 if name == "popcounts" else 1))


def operand_words() -> Array:
    """Return the operands: random words, the last ones bytes near zero."""
    return np.random.default_rng(SEED).integers(0, 1 << 32, OPERANDS, np.uint32)


def expected_warps(total: int, warps: int) -> Array:
    """Return the total of every warp; all are alike."""
    return np.full(warps, total % (1 << 32), np.uint32)


def expected_total(rate: Rate, x: Array, iterations: int, *, is_and: bool) -> int:
    """Return the sum over a warp of what its threads store."""
    if rate.kernel == "rate_popc":
        total = 0
        for i in range(iterations):
            total += (int(x[0]) ^ ((total + i) & 0xFFFFFFFF)).bit_count()
        return 32 * CHAINS * total
    if rate.kernel == "rate_carry_save":
        return 32 * _carry_save(x, iterations)
    if rate.kernel == "rate_imma":
        rows, columns = _lane_bytes(x[:4]), _lane_bytes(x[4:6])
        # rows: registers 0 (rows 0-7, first half of the products), 1 (rows 8-15), 2, 3 (second half)
        halves = [(rows[i], columns[i // 2]) for i in range(4)]
        once = sum(4 * int((row * column).sum()) for row, column in halves)
        return CHAINS * iterations * once * 8 * 8
    if rate.instruction == "BMMA":
        count = 2 if rate.macs == PRODUCT_MACS else 1
        pairs = [(x[i], x[4 + i // 2]) for i in range(2 * count)]
        once = sum(4 * _ones(row, column, is_and=is_and) for row, column in pairs)
        return CHAINS * iterations * once * 8 * 8
    columns = rate.macs // 64 // 256
    if rate.kernel.endswith("_registers"):
        # words 0 to 3 of a column stand side by side; lane l has word l % 4 of its rows, always the same one
        once = sum(_ones(x[i], x[word], is_and=True) for i in range(4) for word in range(4))
        return PRODUCTS * iterations * once * 8 * columns
    once = 2 * sum(_ones(x[word], x[word], is_and=True) for word in range(4))
    return PRODUCTS * iterations * once * 16 * columns


def _ones(a: np.uint32, b: np.uint32, *, is_and: bool) -> int:
    return int(a & b if is_and else a ^ b).bit_count()


def _lane_bytes(words: Array) -> Array:
    return words.view(np.int8).reshape(-1, 4).astype(np.int64)


def _carry_save(x: Array, iterations: int) -> int:
    ones = twos = fours = eights = 0
    words = [int(word) for word in x]

    def carry(total: int, a: int, b: int) -> tuple[int, int]:
        return total ^ a ^ b, (total & a) | (total & b) | (a & b)

    for i in range(iterations):
        w = [word ^ ((i + eights) & 0xFFFFFFFF) for word in words]
        ones, a = carry(ones, w[0], w[1])
        ones, b = carry(ones, w[2], w[3])
        ones, c = carry(ones, w[4], w[5])
        ones, d = carry(ones, w[6], w[7])
        twos, e = carry(twos, a, b)
        twos, f = carry(twos, c, d)
        fours, g = carry(fours, e, f)
        eights += g.bit_count()
    return 8 * eights + 4 * fours.bit_count() + 2 * twos.bit_count() + ones.bit_count()
