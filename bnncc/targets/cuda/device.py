"""What a GPU can do, as numbers: one description for each architecture that code is made for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bnncc.diagnostics import DataError
from bnncc.targets.device_files import DeviceFile, described_devices


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


def rates_of(described: DeviceFile) -> DeviceRates:
    """Return what a file says about a GPU.

    Raises:
        DataError: its ``b1_form`` is unknown, or it describes no GPU.
    """
    form = described.words.get("b1_form", "")
    if form not in {"none", *B1Form}:
        raise DataError(f"'{described.name}': b1_form is '{form}'; choose xor, and, none")
    numbers = described.numbers
    return DeviceRates(
        arch=described.words["arch"],
        name=described.name,
        multiprocessors=int(numbers["multiprocessors"]),
        clock_ghz=numbers["clock_ghz"],
        memory_gb_s=numbers["memory_gb_s"],
        l2_bytes=int(numbers["l2_bytes"]),
        popcounts=int(numbers["popcounts"]),
        b1_macs=int(numbers["b1_macs"]),
        b1_form=None if form == "none" else B1Form(form),
        warpgroup_macs=int(numbers["warpgroup_macs"]),
    )


def arch_number(arch: str) -> int:
    """Return ``90`` for ``sm_90a``."""
    return int(arch.removeprefix("sm_").rstrip("af"))


_DEVICES: Final = tuple(
    sorted(
        (rates_of(described) for described in described_devices() if described.kind == "gpu"),
        key=lambda rates: arch_number(rates.arch),
    )
)
DEVICES: Final = {device.arch: device for device in _DEVICES}
"""The GPU that counts for each architecture, from the files in ``bnncc/targets/devices``."""


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
