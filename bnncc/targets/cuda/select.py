"""Which tier a binary layer takes: per architecture, from which batch size on, and why."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from bnncc.targets.cuda.artifact import Launch, TierUse
from bnncc.targets.cuda.cost import Work, seconds
from bnncc.targets.cuda.device import DEVICES, DeviceRates


class Tier(StrEnum):
    """How the kernels of binary layers multiply.

    ``AUTO``: as the cost model says. ``POPC``: xor and population count, on any GPU. ``BMMA``: tensor cores,
    on sm_75 to sm_90; layers that they cannot take stay with ``POPC``.
    """

    AUTO = "auto"
    POPC = "popc"
    BMMA = "bmma"


BATCHES: Final = tuple(2**power for power in range(13))
"""Batch sizes at which the tiers are compared."""
GAIN: Final = 1.1
"""The model is rough: a tier must promise this much before it replaces the one that runs anywhere."""

LATENCY_S: Final = 1e-6
"""What any kernel waits, from its first load to its last store: no tier makes that shorter."""
DENSE_IMAGES: Final = 16
"""The smallest batch of a dense layer on tensor cores: with fewer rows a fragment is mostly empty."""

NO_PATCH: Final = "the input under one tile does not fit shared memory"


def tier_uses(popc: tuple[Launch, Work], bmma: tuple[Launch, Work]) -> tuple[TierUse, ...]:
    """Return, for every architecture, from which batch size on ``bmma`` replaces ``popc``."""
    return tuple(_use(popc, bmma, device) for device in DEVICES.values())


def refused(reason: str) -> tuple[TierUse, ...]:
    """Return, for every architecture, that a layer has no tensor-core kernel."""
    return tuple(TierUse(arch=arch, from_images=None, reason=reason) for arch in DEVICES)


def _use(popc: tuple[Launch, Work], bmma: tuple[Launch, Work], device: DeviceRates) -> TierUse:
    if device.b1_form is None:
        reason = "no single-bit products on tensor cores"
        return TierUse(arch=device.arch, from_images=None, reason=reason)
    gains = {images: _seconds(popc, device, images) / _seconds(bmma, device, images) for images in BATCHES}
    smallest = DENSE_IMAGES if bmma[0].geometry.images_per_step > 1 else 1
    first: int | None = None
    for images in (images for images in reversed(BATCHES) if images >= smallest):
        if gains[images] < GAIN:
            break
        first = images
    largest = f"{gains[BATCHES[-1]]:.1f}x popc at {BATCHES[-1]} images"
    at_first = "" if first is None else f", {gains[first]:.1f}x at {first}"
    reason = f"{largest}{at_first} (cost model, {device.name})"
    return TierUse(arch=device.arch, from_images=first, reason=reason)


def _seconds(kernel: tuple[Launch, Work], device: DeviceRates, images: int) -> float:
    launch, work = kernel
    return LATENCY_S + seconds(work, launch.geometry, launch.traffic, device, images)
