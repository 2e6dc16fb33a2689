"""What a GPU can do, as numbers: one frozen description for each architecture that code is made for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class B1Form(StrEnum):
    """What the tensor cores count when they multiply single bits."""

    XOR = "xor"
    AND = "and"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRates:
    """The rates of one GPU, those of a multiprocessor per clock.

    Args:
        arch: what code for it is compiled for.
        name: the product that the numbers are of.
        multiprocessors: of the whole device.
        clock_ghz: sustained.
        memory_gb_s: of device memory.
        l2_bytes: that a multiprocessor gets from the L2 cache per clock.
        popcounts: of 32 bits each.
        b1_macs: products of single bits on the tensor cores (mma.sync); 0 where they are emulated.
        b1_form: what these count; None where they are emulated.
        warpgroup_macs: products of single bits by warpgroups (wgmma); 0 where there are none.
    """

    arch: str
    name: str
    multiprocessors: int
    clock_ghz: float
    memory_gb_s: float
    l2_bytes: int
    popcounts: int
    b1_macs: int
    b1_form: B1Form | None
    warpgroup_macs: int = 0


# Population counts: 16 results a clock and multiprocessor from compute capability 7.5 on (CUDA C++
# Programming Guide, arithmetic throughput). Sizes, clocks, memory: the products' data sheets. Single-bit
# products: sm_80 by the A100's data sheet (4,992 TOPS, eight times int8); sm_75, sm_86, sm_89: assumed to be
# eight times their int8 rate, too; sm_90a: measured and published for GH200 (0.54 BMMA.168256 a clock),
# that of warpgroups eight times the int8 rate of the data sheet. The
# L2 rate is that of public kernels on H200 (about 8 TB/s), and assumed for the others. This project has
# measured none of them.
_DEVICES: Final = (
    DeviceRates(
        arch="sm_75",
        name="T4",
        multiprocessors=40,
        clock_ghz=1.59,
        memory_gb_s=320,
        l2_bytes=32,
        popcounts=16,
        b1_macs=8192,
        b1_form=B1Form.XOR,
    ),
    DeviceRates(
        arch="sm_80",
        name="A100",
        multiprocessors=108,
        clock_ghz=1.41,
        memory_gb_s=1555,
        l2_bytes=32,
        popcounts=16,
        b1_macs=16384,
        b1_form=B1Form.XOR,
    ),
    DeviceRates(
        arch="sm_86",
        name="RTX 3090",
        multiprocessors=82,
        clock_ghz=1.70,
        memory_gb_s=936,
        l2_bytes=32,
        popcounts=16,
        b1_macs=8192,
        b1_form=B1Form.XOR,
    ),
    DeviceRates(
        arch="sm_89",
        name="RTX 4090",
        multiprocessors=128,
        clock_ghz=2.52,
        memory_gb_s=1008,
        l2_bytes=32,
        popcounts=16,
        b1_macs=8192,
        b1_form=B1Form.XOR,
    ),
    DeviceRates(
        arch="sm_90a",
        name="H200",
        multiprocessors=132,
        clock_ghz=1.83,
        memory_gb_s=4800,
        l2_bytes=32,
        popcounts=16,
        b1_macs=17700,
        b1_form=B1Form.AND,
        warpgroup_macs=32768,
    ),
    DeviceRates(
        arch="sm_100a",
        name="B200",
        multiprocessors=148,
        clock_ghz=1.85,
        memory_gb_s=8000,
        l2_bytes=32,
        popcounts=16,
        b1_macs=0,
        b1_form=None,
    ),
    DeviceRates(
        arch="sm_120",
        name="RTX 5090",
        multiprocessors=170,
        clock_ghz=2.41,
        memory_gb_s=1792,
        l2_bytes=32,
        popcounts=16,
        b1_macs=0,
        b1_form=None,
    ),
)
DEVICES: Final = {device.arch: device for device in _DEVICES}


def device_for(code_arch: str, capability: tuple[int, int]) -> DeviceRates | None:
    """Return the rates that count where code for ``code_arch`` runs on a device; None where none are known.

    Code keeps the form of single-bit products it was compiled with: where a device counts otherwise they are
    emulated, so nothing is said about it. A device that is not described counts as the next older one.
    """
    number = 10 * capability[0] + capability[1]
    older = [device for device in _DEVICES if arch_number(device.arch) <= number]
    if not older:
        return None
    device, code = older[-1], DEVICES.get(code_arch)
    return device if code is not None and device.b1_form is code.b1_form else None


def arch_number(arch: str) -> int:
    """Return ``90`` for ``sm_90a``."""
    return int(arch.removeprefix("sm_").rstrip("af"))
