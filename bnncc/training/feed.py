"""Batches of training images, made on the device from the whole set at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bnncc.data import Split
from bnncc.diagnostics import DataError
from bnncc.ir.train_spec import Mix, TrainSpec
from bnncc.training.augment import PixelMaps, bordered, pixel_maps
from bnncc.training.mixing import Batch, mixed
from bnncc.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The training images, ready to be cut into batches.

    Args:
        images: all of them, ``[N, C, H, W]``; where there are maps, ``[N, C, H*W + 1]`` with a pixel for
            outside.
        image_size: rows and columns.
        batch: images in one step, of all processes together.
        share: the images of each batch that this process takes. Random choices are made for the whole batch
            by every process, so that they do not depend on how many there are.
        mix: None mixes nothing.
        input_shape: of the network's input, without the batch.
        seed: together with the number of an epoch it fixes the order of its images, so that a run can be
            taken up in the middle of one.
    """

    images: Tensor
    labels: Tensor
    image_size: tuple[int, int]
    batch: int
    share: slice
    maps: tuple[PixelMaps, ...]
    mix: Mix | None
    input_shape: tuple[int, ...]
    seed: int

    @property
    def steps(self) -> int:
        """Return the number of batches in an epoch; images left over wait for the next order."""
        return len(self.labels) // self.batch

    def batches(self, epoch: int, generator: torch.Generator, first: int = 0) -> Iterator[Batch]:
        """Yield this process's share of each batch from ``first`` of ``epoch``, ``[N, *input_shape]``.

        ``generator`` draws the augmentations; it is on the CPU, so that every device draws the same.
        """
        order = self._order(epoch)
        for step in range(first, self.steps):
            chosen = order[step * self.batch : (step + 1) * self.batch]
            drawn = [maps.draw(len(chosen), generator) for maps in self.maps]
            if self.mix is None:
                batch = self._read(chosen[self.share], [choice[self.share] for choice in drawn])
            else:  # an image of another process may be the partner
                batch = mixed(self._read(chosen, drawn), self.mix, generator).at(self.share)
            yield replace(batch, images=batch.images.reshape(len(batch), *self.input_shape))

    def _read(self, chosen: Tensor, drawn: list[Tensor]) -> Batch:
        images = self.images[chosen]
        for maps, choice in zip(self.maps, drawn, strict=True):
            images = maps.apply(images, choice)
        if self.maps:
            images = images[:, :, :-1].reshape(*images.shape[:2], *self.image_size)
        return Batch(images=images, labels=self.labels[chosen])

    def plain_images(self, count: int) -> Tensor:
        """Return the first ``count`` training images as they are, ``[N, *input_shape]``."""
        images = self.images[:count]
        pixels = images[:, :, :-1] if self.maps else images
        return pixels.reshape(len(images), *self.input_shape)

    def _order(self, epoch: int) -> Tensor:
        mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(mixed) >> 1)
        return torch.randperm(len(self.labels), generator=generator).to(self.labels.device)


def make_feed(split: Split, spec: TrainSpec, input_shape: tuple[int, ...], team: Team) -> Feed:
    """Return the feed of ``split``; a batch larger than the set is the whole set.

    Vectors (images of one pixel) have nowhere to move: ``augment`` leaves them as they are.

    Raises:
        DataError: if a batch cannot be divided among the processes and their parts.
    """
    height, width = split.images.shape[2:]
    augment = spec.augment if height * width > 1 else ()
    maps = tuple(PixelMaps(pixel_maps(clause, height, width).indices.to(team.device)) for clause in augment)
    batch = min(spec.batch, len(split))
    shares = team.size * spec.accumulate
    if batch % shares or batch // shares < 2:
        parts = f"{team.size} process(es) times accumulate {spec.accumulate}"
        raise DataError(f"A batch of {batch:,} images cannot be taken in {parts} equal parts of two or more.")
    own = batch // team.size
    images = torch.tensor(split.images, device=team.device)
    return Feed(
        images=bordered(images) if maps else images,
        image_size=(height, width),
        labels=torch.tensor(split.labels, device=team.device),
        batch=batch,
        share=slice(team.rank * own, (team.rank + 1) * own),
        maps=maps,
        mix=spec.mix,
        input_shape=input_shape,
        seed=spec.seed,
    )
