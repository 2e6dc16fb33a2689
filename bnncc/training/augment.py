"""Random changes of images, each one gather through a precomputed map of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, assert_never

import torch
from torch import Tensor

from bnncc.ir.train_spec import Augmentation, RandomAffine, RandomCrop, RandomFlip, RandomShift

_AFFINE_MAPS: Final = 1024
_AFFINE_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class PixelMaps:
    """Ways to rebuild an image from its own pixels.

    Shapes:
        indices: ``[M, H*W + 1]`` i64: the pixel that comes to each place; ``H*W`` stands for value 0.
    """

    indices: Tensor

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the number of a map for each of ``count`` images."""
        return torch.randint(len(self.indices), (count,), generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return every image changed by the map drawn for it.

        Shapes:
            images: ``[N, C, H*W + 1]`` u8, as `bordered` gives them. drawn: ``[N]``. result: as images.
        """
        maps = self.indices[drawn.to(self.indices.device)]
        return torch.gather(images, 2, maps[:, None].expand(-1, images.shape[1], -1))


def bordered(images: Tensor) -> Tensor:
    """Return images in rows of pixels with a pixel of value 0 at the end, which maps name for all outside."""
    flat = images.flatten(2)
    return torch.cat([flat, flat.new_zeros(*flat.shape[:2], 1)], dim=2)


def pixel_maps(augmentation: Augmentation, height: int, width: int) -> PixelMaps:
    """Return the maps of one clause of the train block for images of ``height`` x ``width``."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    match augmentation:
        case RandomShift(pixels=reach) | RandomCrop(padding=reach):
            offsets = range(-reach, reach + 1)
            maps = [_indices(rows + dy, columns + dx) for dy in offsets for dx in offsets]
        case RandomFlip():
            maps = [_indices(rows, columns), _indices(rows, columns.flip(1))]
        case RandomAffine():
            maps = _affine_maps(augmentation, rows, columns)
        case _:
            assert_never(augmentation)
    outside = torch.full((len(maps), 1), height * width)
    return PixelMaps(torch.cat([torch.stack(maps), outside], dim=1))


def _indices(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixel numbers of places, ``H*W`` for those outside. Shapes: ``[H, W]`` each."""
    height, width = rows.shape
    is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return torch.where(is_inside, rows * width + columns, height * width).reshape(-1)


def _affine_maps(spec: RandomAffine, rows: Tensor, columns: Tensor) -> list[Tensor]:
    """Return maps to the nearest pixel, the same ones in every run."""
    generator = torch.Generator().manual_seed(_AFFINE_SEED)
    centre_y, centre_x = (rows.shape[0] - 1) / 2, (rows.shape[1] - 1) / 2
    maps: list[Tensor] = []
    for _ in range(_AFFINE_MAPS):
        dy, dx, turn, grow, shear = (torch.rand(5, generator=generator) * 2 - 1).tolist()
        angle, zoom = math.radians(turn * spec.rotate), 1 + grow * spec.zoom
        y = (rows - centre_y - dy * spec.shift) / zoom
        x = (columns - centre_x - dx * spec.shift) / zoom + shear * spec.shear * y
        source_y = torch.round(math.cos(angle) * y - math.sin(angle) * x + centre_y).long()
        source_x = torch.round(math.sin(angle) * y + math.cos(angle) * x + centre_x).long()
        maps.append(_indices(source_y, source_x))
    return maps
