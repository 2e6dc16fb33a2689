"""Contrast normalization and whitening against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.data import Dataset, Split, load_dataset
from bnncc.data.preprocess import STEPS_PER_UNIT, gcn_of, lcn_of, preprocess, zca_of
from bnncc.diagnostics import DataError

RNG = np.random.default_rng(0)


def correlated(count=400, shape=(2, 4, 4)):
    size = int(np.prod(shape))
    mixed = RNG.normal(size=(count, size)) @ RNG.normal(size=(size, size)) + 3
    return mixed.astype(np.float32).reshape(count, *shape)


def test_gcn_gives_every_image_mean_0_and_deviation_1():
    images = correlated()
    images[3] = 0.25  # a constant image has no contrast
    found = gcn_of(images)(images).reshape(len(images), -1)
    assert np.abs(found.mean(1)).max() < 1e-5
    assert np.abs(np.delete(found.std(1), 3) - 1).max() < 1e-5
    assert not found[3].any()


def test_zca_whitens_and_is_symmetric():
    images = correlated()
    flat = images.reshape(len(images), -1).astype(np.float64)
    found = zca_of(images)(images).reshape(len(images), -1)
    values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
    share = values / values.mean()
    # Along each axis of the covariance its share is divided by sqrt(share + 0.1).
    along = (found @ vectors).var(0)
    assert np.abs(along - share / (share + 0.1)).max() < 1e-3
    matrix = np.linalg.lstsq(flat - flat.mean(0), found.astype(np.float64), rcond=None)[0]
    assert np.abs(matrix - matrix.T).max() < 1e-3


def test_lcn_is_the_definition_pixel_by_pixel():
    images = RNG.random((2, 3, 12, 11)).astype(np.float32)
    window = np.exp(-(np.arange(-4, 5)[:, None] ** 2 + np.arange(-4, 5)[None] ** 2) / 8)
    window /= window.sum()

    def blur(plane):
        padded = np.pad(plane, 4)
        rows, columns = plane.shape
        return np.array(
            [[(padded[y : y + 9, x : x + 9] * window).sum() for x in range(columns)] for y in range(rows)]
        )

    found = lcn_of(images)(images)
    for plane, result in zip(images.reshape(-1, 12, 11), found.reshape(-1, 12, 11), strict=True):
        centred = plane - blur(plane)
        spread = np.sqrt(blur(centred**2))
        assert np.abs(result - centred / np.maximum(spread, spread.mean())).max() < 1e-4


def test_the_result_is_i8_in_steps_and_fitted_to_the_training_images():
    images = RNG.integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)
    split = Split(images=images, labels=np.zeros(60, np.int64))
    dataset = Dataset(name="noise", class_names=("a",), train=split, test=split.at(np.arange(7)))
    found = preprocess(dataset, ("gcn", "zca"))
    assert found.name == "noise+gcn+zca"
    assert "i8" in found.notes[-1]
    assert found.train.images.dtype == np.int8
    np.testing.assert_array_equal(found.test.images, found.train.images[:7])
    pixels = (images / 255).astype(np.float32)
    plain = gcn_of(pixels)(pixels)
    rounded = np.clip(np.rint(plain * STEPS_PER_UNIT), -127, 127).astype(np.int8)
    np.testing.assert_array_equal(preprocess(dataset, ("gcn",)).train.images, rounded)


def test_a_data_set_is_transformed_by_its_name():
    pytest.importorskip("sklearn")
    found = load_dataset("digits+gcn")
    assert (found.name, found.train.images.dtype) == ("digits+gcn", np.int8)
    with pytest.raises(DataError, match="no transform 'pca'"):
        load_dataset("digits+pca")
    with pytest.raises(DataError, match="'digit' is neither"):
        load_dataset("digit+gcn")
