"""Which tier a binary layer takes: per architecture, from which batch size on, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, assert_never

from bnncc.targets.cuda.artifact import Launch, TierUse
from bnncc.targets.cuda.cost import Work, seconds
from bnncc.targets.cuda.device import DEVICES, DeviceRates


class Tier(StrEnum):
    """How the kernels of binary layers multiply.

    ``AUTO``: as the cost model says. ``POPC``: xor and population count, on any GPU. ``BMMA``: tensor cores,
    on sm_75 to sm_90. ``WGMMA``: warpgroups on tensor cores, on sm_90a; they read the taps of a convolution
    straight from the input under a tile in shared memory, by matrices that overlap. ``WGMMA_REGISTERS``: the
    same, but each lane loads the taps of its rows; needs nothing of overlapping matrices, and takes any
    stride. Layers that a tier cannot take go to the one named before it.
    """

    AUTO = "auto"
    POPC = "popc"
    BMMA = "bmma"
    WGMMA = "wgmma"
    WGMMA_REGISTERS = "wgmma-registers"

    @property
    def is_by_warpgroups(self) -> bool:
        """Return whether layers get kernels of tier wgmma wherever they can."""
        return self in (Tier.WGMMA, Tier.WGMMA_REGISTERS)

    def runs_on(self, device: DeviceRates) -> bool:
        """Return whether ``device`` has the instructions of this tier."""
        match self:
            case Tier.AUTO | Tier.POPC:
                return True
            case Tier.BMMA:
                return device.b1_form is not None
            case Tier.WGMMA | Tier.WGMMA_REGISTERS:
                return device.warpgroup_macs > 0
            case _:
                assert_never(self)


BATCHES: Final = tuple(2**power for power in range(13))
"""Batch sizes at which the tiers are compared."""
GAIN: Final = 1.1
"""The model is rough: a tier must promise this much before it replaces the one that runs anywhere."""

LATENCY_S: Final = 1e-6
"""What any kernel waits, from its first load to its last store: no tier makes that shorter."""
DENSE_IMAGES: Final = 16
"""The smallest batch of a dense layer on tensor cores: with fewer rows a fragment is mostly empty."""
WARPGROUP_IMAGES: Final = 64
"""The smallest batch of a dense layer by warpgroups: the rows of a product."""
TILES_A_BLOCK: Final = 2
"""The fewest tiles of a convolution by warpgroups that a block makes: its two consumers take turns."""

NO_PATCH: Final = "the input under one tile does not fit shared memory"


Timed: TypeAlias = tuple[Launch, Work]
"""A kernel as the cost model sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The kernels of one layer that there are, to choose from.

    Args:
        popc: runs anywhere.
        bmma: None where tensor cores cannot take the layer.
        wgmma: None where warpgroups cannot.
        no_wgmma: why they cannot.
    """

    popc: Timed
    bmma: Timed | None
    wgmma: Timed | None
    no_wgmma: str = ""


def tier_uses(choice: Choice) -> tuple[TierUse, ...]:
    """Return, for every architecture, from which batch size on each tier replaces the ones before it."""
    return tuple(use for device in DEVICES.values() for use in _uses(choice, device))


def integer_uses(anywhere: Timed, imma: Timed | None) -> tuple[TierUse, ...]:
    """Return, for every architecture, from which batch size on tensor cores take a layer of bytes."""
    if imma is None:
        return tuple(TierUse(arch=arch, tier="imma", from_images=None, reason=NO_PATCH) for arch in DEVICES)
    smallest = DENSE_IMAGES if imma[0].geometry.images_per_step > 1 else 1
    return tuple(_use(((anywhere,), imma), device, "imma", smallest) for device in DEVICES.values())


def _uses(choice: Choice, device: DeviceRates) -> Iterator[TierUse]:
    best = [choice.popc]
    if choice.bmma is None:
        yield TierUse(arch=device.arch, tier=Tier.BMMA, from_images=None, reason=NO_PATCH)
    elif device.b1_form is None:
        reason = "no single-bit products on tensor cores"
        yield TierUse(arch=device.arch, tier=Tier.BMMA, from_images=None, reason=reason)
    else:
        smallest = DENSE_IMAGES if choice.bmma[0].geometry.images_per_step > 1 else 1
        yield _use((tuple(best), choice.bmma), device, Tier.BMMA, smallest)
        best.append(choice.bmma)
    if device.warpgroup_macs == 0:
        return
    if choice.wgmma is None:
        yield TierUse(arch=device.arch, tier=Tier.WGMMA, from_images=None, reason=choice.no_wgmma)
        return
    yield _use((tuple(best), choice.wgmma), device, Tier.WGMMA, _fewest_images(choice.wgmma[0], device))


def _fewest_images(launch: Launch, device: DeviceRates) -> int:
    """Return from which batch on warpgroups are busy: whole rows, or weights that serve several tiles."""
    if launch.geometry.images_per_step > 1:
        return WARPGROUP_IMAGES
    wanted = TILES_A_BLOCK * device.multiprocessors
    enough = (images for images in BATCHES if launch.geometry.tiles(images) >= wanted)
    return int(next(enough, BATCHES[-1]))


def _use(kernels: tuple[tuple[Timed, ...], Timed], device: DeviceRates, tier: str, smallest: int) -> TierUse:
    others, timed = kernels
    gains = {
        images: min(_seconds(other, device, images) for other in others) / _seconds(timed, device, images)
        for images in BATCHES
    }
    first: int | None = None
    for images in (images for images in reversed(BATCHES) if images >= smallest):
        if gains[images] < GAIN:
            break
        first = images
    rival = others[-1][0].tier
    largest = f"{gains[BATCHES[-1]]:.1f}x {rival} at {BATCHES[-1]} images"
    at_first = "" if first is None else f", {gains[first]:.1f}x at {first}"
    reason = f"{largest}{at_first} (cost model, {device.name})"
    return TierUse(arch=device.arch, tier=tier, from_images=first, reason=reason)


def _seconds(kernel: Timed, device: DeviceRates, images: int) -> float:
    launch, work = kernel
    return LATENCY_S + seconds(work, launch.geometry, launch.traffic, device, images)
