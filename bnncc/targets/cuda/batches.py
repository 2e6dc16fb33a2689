"""How many images go through the network at a time, so that activations stay in the L2 cache."""

from __future__ import annotations

import math
from typing import Final

from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.targets.cuda.device import DeviceRates

MOST_IMAGES: Final = 4096
"""Bounds the workspace where no cache does."""
STEP_IMAGES: Final = 16
"""Sub-batches are multiples of this: whole groups and tiles, and the alignment of arrays is kept."""
_LAUNCH_S: Final = 1.5e-6
"""Between two kernels of a graph: an assumption, to be measured."""


def images_at_once(artifact: CudaArtifact, rates: DeviceRates | None, l2_bytes: int) -> int:
    """Return the images of a sub-batch; a batch that is not larger is not cut.

    A launch reads what the launch before wrote. Where that is more than the cache holds, it goes to memory
    and back: ``images * (read + written)`` bytes a launch, the first and the last launch's outer sides
    excepted. A sub-batch of ``b`` images saves this where its largest launch fits half of the cache (the
    other half is for weights, and for copies that the halves of a large cache keep of each other's lines):

        ``b * max(read + written) + max(constants) <= l2_bytes / 2``

    and costs one more launch of every kernel. So batches are cut only where

        ``b * saved bytes an image / memory rate > launches * 1.5 us``

    and where those launches that move more than the average still have a block for every multiprocessor. The
    saving is a floor of the traffic, not a measurement.

    Args:
        artifact: the network.
        rates: of the device; None: nothing is known, nothing is cut below `MOST_IMAGES`.
        l2_bytes: of the device.
    """
    if rates is None or l2_bytes == 0 or not artifact.launches:
        return MOST_IMAGES
    launches = artifact.launches_for(rates.arch, MOST_IMAGES)
    moved = [
        launch.traffic.read_bytes_per_image + launch.traffic.written_bytes_per_image for launch in launches
    ]
    constants = max(launch.traffic.constant_bytes for launch in launches)
    fitting = int((l2_bytes // 2 - constants) // max(moved)) // STEP_IMAGES * STEP_IMAGES
    if not STEP_IMAGES <= fitting < MOST_IMAGES:
        return MOST_IMAGES
    outer = launches[0].traffic.read_bytes_per_image + launches[-1].traffic.written_bytes_per_image
    saved_s = fitting * (sum(moved) - outer) / (rates.memory_gb_s * 1e9)
    blocks = min(
        math.prod(launch.geometry.grid(fitting))
        for launch, count in zip(launches, moved, strict=True)
        if count * len(moved) >= sum(moved)
    )
    is_worthwhile = saved_s > len(launches) * _LAUNCH_S and blocks >= rates.multiprocessors
    return fitting if is_worthwhile else MOST_IMAGES
