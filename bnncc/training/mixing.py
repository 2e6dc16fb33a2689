"""Images mixed with others of their batch, and so their classes: mixup and cutmix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

import torch
from torch import Tensor

from bnncc.ir.train_spec import Cutmix, Mix, Mixup


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images of one step and what they show.

    Shapes:
        images: ``[N, ...]`` u8 or i8. labels, others: ``[N]`` i64. shares: ``[N]`` f32.

    Args:
        others: the second class of each image; None where nothing is mixed.
        shares: how much of each image shows its class; the rest shows the other.
    """

    images: Tensor
    labels: Tensor
    others: Tensor | None = None
    shares: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, part: slice) -> Batch:
        """Return the images of ``part``."""
        return Batch(
            images=self.images[part],
            labels=self.labels[part],
            others=None if self.others is None else self.others[part],
            shares=None if self.shares is None else self.shares[part],
        )

    def split(self, count: int) -> list[Batch]:
        """Return ``count`` parts of equal length."""
        length = len(self) // count
        return [self.at(slice(start, start + length)) for start in range(0, count * length, length)]


def mixed(batch: Batch, mix: Mix, generator: torch.Generator) -> Batch:
    """Return ``batch`` with every image mixed with another that ``generator`` draws.

    Pixels stay whole numbers.     Vectors (images of one pixel) have no rectangles: cutmix leaves them as
    they are.
    """
    count = len(batch)
    partner = torch.randperm(count, generator=generator).to(batch.labels.device)
    match mix:
        case Mixup(alpha=alpha):
            shares = _beta(alpha, count, generator).to(batch.images.device)
            images = _blend(batch.images, batch.images[partner], shares)
        case Cutmix(alpha=alpha):
            height, width = batch.images.shape[2:]
            if height * width == 1:
                return batch
            is_inside = _rectangles(alpha, (count, height, width), generator).to(batch.images.device)
            images = torch.where(is_inside[:, None], batch.images[partner], batch.images)
            shares = 1 - is_inside.float().mean((1, 2))
        case _:
            assert_never(mix)
    return replace(batch, images=images, others=batch.labels[partner], shares=shares)


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Return draws from ``Beta(alpha, alpha)``, f32: ``x / (x + y)`` of two gamma variates."""
    shape = torch.full((2, count), alpha, dtype=torch.float64)
    x, y = torch._standard_gamma(shape, generator=generator)  # noqa: SLF001 -- the public one takes no generator
    share: Tensor = x / (x + y)
    return share.float()


def _blend(images: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """Return ``share * image + (1 - share) * other``, rounded; Shapes: ``[N, C, H, W]``, shares ``[N]``."""
    share = shares[:, None, None, None]
    return (others + share * (images.float() - others.float())).round_().to(images.dtype)


def _rectangles(alpha: float, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Return masks ``[N, H, W]`` of rectangles with areas of ``Beta(alpha, alpha)``, cut off at borders."""
    count, height, width = shape
    size = (1 - _beta(alpha, count, generator)).sqrt()[:, None]
    middle = torch.rand(2, count, 1, generator=generator)

    def covered(length: int, centre: Tensor) -> Tensor:
        return (torch.arange(length) + 0.5 - centre * length).abs() < size * length / 2

    return covered(height, middle[0])[:, :, None] & covered(width, middle[1])[:, None, :]
