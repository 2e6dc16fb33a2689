"""Transforms of whole data sets before the network: contrast normalization and whitening, rounded to i8.

They mix the pixels of an image with real coefficients, so they are no part of a network on bytes. Their
result is rounded to ``i8`` in steps of 1/32, and a network with an ``i8`` input reads that exactly (ADR 6).
Whoever runs such a network repeats the transform first; it costs float operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from bnncc.data.dataset import Dataset, Split
from bnncc.diagnostics import DataError

STEPS_PER_UNIT: Final = 32
_CHUNK: Final = 2000

Pixels: TypeAlias = npt.NDArray[np.float32]
Transform: TypeAlias = Callable[[Pixels], Pixels]


def gcn_of(_train: Pixels) -> Transform:
    """Return global contrast normalization: ``(x - mean(x)) / std(x)`` of each image by itself.

    Source: Goodfellow et al. 2013 (Maxout networks), section 5.2.
    """

    def apply(images: Pixels) -> Pixels:
        flat = images.reshape(len(images), -1)
        centred = flat - flat.mean(axis=1, keepdims=True)
        spread = centred.std(axis=1, keepdims=True)
        result: Pixels = centred / np.where(spread < 1e-8, np.float32(1), spread)
        return result.reshape(images.shape)

    return apply


def zca_of(train: Pixels) -> Transform:
    """Return ZCA whitening, fitted to the training images.

    With the covariance ``V diag(d) V'`` of the pixels and their mean variance ``v``::

        y = V diag(1 / sqrt(d / v + 0.1)) V' (x - mean) / sqrt(v)

    After `gcn_of`, where ``v`` is about 1, that is the whitening with ``filter_bias = 0.1`` of pylearn2.

    Source: Krizhevsky 2009, appendix A; the bias is that of pylearn2 and of Torch7's ``dp.ZCA``.
    """
    flat = train.reshape(len(train), -1)
    mean = flat.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((flat.shape[1], flat.shape[1]))
    for start in range(0, len(flat), _CHUNK):
        centred = (flat[start : start + _CHUNK] - mean).astype(np.float32)
        covariance += centred.T @ centred
    covariance /= len(flat)
    variance = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance / variance)
    whitening = (vectors / np.sqrt(np.maximum(values, 0) + 0.1)) @ vectors.T / np.sqrt(variance)
    matrix = whitening.astype(np.float32)

    def apply(images: Pixels) -> Pixels:
        rows = (images.reshape(len(images), -1) - mean).astype(np.float32)
        result: Pixels = rows @ matrix
        return result.reshape(images.shape)

    return apply


def lcn_of(_train: Pixels) -> Transform:
    """Return local contrast normalization of each channel with a 9x9 Gaussian of deviation 2.

    With ``G`` that Gaussian (zeros outside the image): ``c = x - G x``, ``s = sqrt(G c^2)``, and the result
    is ``c / max(s, mean(s), 1e-4)``.

    Source: LeCun et al. 2010, section III; window and deviation as in pylearn2 and Torch7's ``dp.LeCunLCN``.
    """
    taps = np.exp(-(np.arange(-4, 5) ** 2) / 8).astype(np.float32)
    taps /= taps.sum()

    def blur(x: Pixels) -> Pixels:
        height, width = x.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (4, 4), (4, 4)))
        rows = sum(tap * padded[:, :, i : i + height] for i, tap in enumerate(taps))
        return np.asarray(sum(tap * rows[:, :, :, i : i + width] for i, tap in enumerate(taps)))

    def apply(images: Pixels) -> Pixels:
        centred = images - blur(images)
        spread = np.sqrt(np.maximum(blur(centred**2), 0))
        floor = np.maximum(spread.mean(axis=(2, 3), keepdims=True), 1e-4)
        return np.asarray(centred / np.maximum(spread, floor), np.float32)

    return apply


TRANSFORMS: Final[Mapping[str, Callable[[Pixels], Transform]]] = MappingProxyType(
    {"gcn": gcn_of, "zca": zca_of, "lcn": lcn_of}
)


def preprocess(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """Return ``dataset`` after the transforms ``names``, fitted to its training images, rounded to i8.

    Raises:
        DataError: if there is no transform of that name.
    """
    unknown = [name for name in names if name not in TRANSFORMS]
    if unknown:
        raise DataError(f"There is no transform '{unknown[0]}'; there are {', '.join(TRANSFORMS)}.")
    train = (dataset.train.images / 255).astype(np.float32)
    test = (dataset.test.images / 255).astype(np.float32)
    for name in names:
        transform = TRANSFORMS[name](train)
        train, test = _in_chunks(transform, train), _in_chunks(transform, test)
    called = "+".join((dataset.name, *names))
    note = f"Transformed by {', '.join(names)} and rounded to i8 in steps of 1/{STEPS_PER_UNIT}."
    return replace(
        dataset,
        name=called,
        train=Split(images=_rounded(train), labels=dataset.train.labels),
        test=Split(images=_rounded(test), labels=dataset.test.labels),
        notes=(*dataset.notes, note),
    )


def _in_chunks(transform: Transform, images: Pixels) -> Pixels:
    return np.concatenate(
        [transform(images[start : start + _CHUNK]) for start in range(0, len(images), _CHUNK)]
    )


def _rounded(images: Pixels) -> npt.NDArray[np.int8]:
    return np.clip(np.rint(images * STEPS_PER_UNIT), -127, 127).astype(np.int8)
