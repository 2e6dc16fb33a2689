"""How a network is launched: a kernel a layer, or all layers in one; per architecture and batch, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Final, TypeAlias

from bnncc.targets.cuda.artifact import FuseUse, Traffic
from bnncc.targets.cuda.cost import Work, seconds
from bnncc.targets.cuda.device import DEVICES, DeviceRates
from bnncc.targets.cuda.launch import LaunchGeometry
from bnncc.targets.cuda.select import BATCHES, GAIN


class Fuse(StrEnum):
    """What a launch is.

    ``AUTO``: the whole network where the cost model says so, else a layer. ``LAYER``: a layer.
    ``PERSISTENT``: the whole network, whose blocks go from layer to layer together.
    """

    AUTO = "auto"
    LAYER = "layer"
    PERSISTENT = "persistent"


LAUNCH_S: Final = 2.5e-6
"""From the start of a short kernel to that of the next one in a stream; an assumption."""
BARRIER_S: Final = 1.0e-6
"""What a barrier of all blocks takes: a write and a read through L2 of the whole device; an assumption."""
SMALL_BATCHES: Final = (1, 4, 16)
"""Batches that the layers of a persistent kernel are cut for."""
MOST_PHASES: Final = 64
"""Layers of a persistent kernel; larger networks take too long to compile as one."""

Timed: TypeAlias = tuple[LaunchGeometry, Traffic, Work]
"""What the cost model needs of a layer; layers that multiply no signs have no `Work`, only memory's time."""
LayerSeconds: TypeAlias = Callable[[DeviceRates, int], float]
"""The time of all layers as kernels of their own, without launches, on a device and for a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A persistent kernel to choose.

    Args:
        kernel: its name.
        needs_bmma: whether it runs only where tensor cores multiply single bits.
        barriers: of the whole grid.
        phases: its layers.
    """

    kernel: str
    needs_bmma: bool
    barriers: int
    phases: tuple[Timed, ...]

    def most_tiles(self, images: int) -> int:
        """Return the tiles of its largest layer: as many blocks it wants, if the device holds them."""
        return max(geometry.tiles(images) for geometry, _, _ in self.phases)

    def seconds(self, device: DeviceRates, images: int) -> float:
        """Return the least time of a run, the launch included."""
        work = sum(layer_seconds(phase, device, images) for phase in self.phases)
        return LAUNCH_S + self.barriers * BARRIER_S + work


def layer_seconds(layer: Timed, device: DeviceRates, images: int) -> float:
    """Return the least time of one layer."""
    geometry, traffic, work = layer
    return seconds(work, geometry, traffic, device, images)


def fuse_uses(
    candidates: Sequence[Candidate], layers: LayerSeconds, launches: int, fuse: Fuse
) -> tuple[FuseUse, ...]:
    """Return, for every architecture, which persistent kernel it has and up to which batch.

    Args:
        candidates: persistent kernels of one network; empty where it has none.
        layers: the time of its layers as kernels of their own.
        launches: that these take.
        fuse: ``PERSISTENT`` leaves no choice of a batch.
    """
    return tuple(
        _use(runnable, layers, launches, device, fuse)
        for device in DEVICES.values()
        if (runnable := [item for item in candidates if device.b1_form is not None or not item.needs_bmma])
    )


def _use(
    candidates: Sequence[Candidate], layers: LayerSeconds, launches: int, device: DeviceRates, fuse: Fuse
) -> FuseUse:
    best = min(candidates, key=lambda item: prod(item.seconds(device, images) for images in SMALL_BATCHES))

    def in_launches(images: int) -> float:
        return launches * LAUNCH_S + layers(device, images)

    largest = 0
    for images in BATCHES:
        if in_launches(images) < GAIN * best.seconds(device, images):
            break
        largest = images
    micro = (
        f"{1e6 * best.seconds(device, 1):.1f} us in one launch, {1e6 * in_launches(1):.1f} us in {launches}"
    )
    blocks = f"blocks for its {best.most_tiles(1)} tiles"
    reason = f"{micro} at 1 image, {blocks} (cost model, {device.name})"
    if fuse is Fuse.PERSISTENT:
        return FuseUse(arch=device.arch, kernel=best.kernel, to_images=None, reason=reason)
    return FuseUse(
        arch=device.arch, kernel=best.kernel if largest else None, to_images=largest, reason=reason
    )
