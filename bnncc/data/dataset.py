"""Labelled images in memory, and splits of them that are the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8 | np.int8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Images and their classes.

    Shapes:
        images: ``[N, C, H, W]``, pixels as u8, transformed ones as i8. labels: ``[N]`` i64, from 0.
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, indices: npt.NDArray[np.int64]) -> Split:
        """Return the images at ``indices``, in that order."""
        return Split(images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images to train on and images to judge by.

    Args:
        notes: what a reader of any figure from it has to know: a part missing, a split of our own.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Return ``(C, H, W)``."""
        return tuple(self.train.images.shape[1:])


def split_off(split: Split, count: int) -> tuple[Split, Split]:
    """Return ``split`` without ``count`` of its images, and those: each class in proportion, no randomness.

    The images are ordered by class, then as they came, and every ``N / count``-th is taken.
    """
    by_class = np.argsort(split.labels, kind="stable")
    taken = np.zeros(len(split), dtype=np.bool_)
    taken[by_class[np.arange(count) * len(split) // max(count, 1)]] = True
    return split.at(np.flatnonzero(~taken)), split.at(np.flatnonzero(taken))
