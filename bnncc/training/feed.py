"""Batches of training images, made on the device from the whole set at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnncc.data import Split
from bnncc.ir.train_spec import Augmentation
from bnncc.training.augment import PixelMaps, pixel_maps


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The training images, ready to be cut into batches.

    Args:
        input_shape: of the network's input, without the batch.
        seed: together with the number of an epoch it fixes the order of its images, so that a run can be
            taken up in the middle of one.
    """

    images: Tensor
    labels: Tensor
    batch: int
    maps: tuple[PixelMaps, ...]
    input_shape: tuple[int, ...]
    seed: int

    @property
    def steps(self) -> int:
        """Return the number of batches in an epoch; images left over wait for the next order."""
        return len(self.labels) // self.batch

    def batches(
        self, epoch: int, generator: torch.Generator, first: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``[batch, *input_shape]`` u8 and labels, from batch ``first`` of ``epoch``.

        ``generator`` draws the augmentations; it is on the CPU, so that every device draws the same.
        """
        order = self._order(epoch)
        for step in range(first, self.steps):
            chosen = order[step * self.batch : (step + 1) * self.batch]
            images = self.images[chosen]
            for maps in self.maps:
                images = maps.apply(images, generator)
            yield images.reshape(len(chosen), *self.input_shape), self.labels[chosen]

    def _order(self, epoch: int) -> Tensor:
        mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(mixed) >> 1)
        return torch.randperm(len(self.labels), generator=generator).to(self.labels.device)


def make_feed(
    split: Split,
    *,
    batch: int,
    augment: tuple[Augmentation, ...],
    input_shape: tuple[int, ...],
    seed: int,
    device: torch.device,
) -> Feed:
    """Return the feed of ``split``; a batch larger than the set is the whole set.

    Vectors (images of one pixel) have nowhere to move: ``augment`` leaves them as they are.
    """
    height, width = split.images.shape[2:]
    if height * width == 1:
        augment = ()
    maps = tuple(PixelMaps(pixel_maps(clause, height, width).indices.to(device)) for clause in augment)
    return Feed(
        images=torch.tensor(split.images, device=device),
        labels=torch.tensor(split.labels, device=device),
        batch=min(batch, len(split)),
        maps=maps,
        input_shape=input_shape,
        seed=seed,
    )
