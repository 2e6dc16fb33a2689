"""Mixup and cutmix: which pixels, which classes, by which shares; and the feed of several processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnncc.data import Split
from bnncc.ir.train_spec import CrossEntropy, Cutmix, Mixup, RandomFlip, RandomShift, SquaredHinge, TrainSpec
from bnncc.training.feed import make_feed
from bnncc.training.losses import loss_of, loss_of_batch
from bnncc.training.mixing import Batch, mixed
from bnncc.training.team import Team

RNG = np.random.default_rng(0)


def batch(count=64, shape=(3, 8, 6), dtype=torch.uint8):
    low, high = (0, 256) if dtype is torch.uint8 else (-128, 128)
    images = torch.from_numpy(RNG.integers(low, high, (count, *shape))).to(dtype)
    return Batch(images=images, labels=torch.arange(count))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8])
def test_mixup_is_the_rounded_mean_by_share(dtype):
    plain = batch(dtype=dtype)
    found = mixed(plain, Mixup(alpha=0.4), torch.Generator().manual_seed(1))
    assert found.images.dtype == dtype
    partner = plain.images[found.others].double()
    share = found.shares.double()[:, None, None, None]
    exact = share * plain.images.double() + (1 - share) * partner
    assert (found.images.double() - exact).abs().max() <= 0.5 + 1e-4
    assert found.shares.min() >= 0
    assert found.shares.max() <= 1


def test_cutmix_shares_are_those_of_the_pixels():
    plain = batch()
    found = mixed(plain, Cutmix(), torch.Generator().manual_seed(2))
    own = (found.images == plain.images).all(1)
    other = (found.images == plain.images[found.others]).all(1)
    assert (own | other).all()
    for image in range(len(plain)):
        if found.others[image] != image:
            assert own[image].float().mean().item() == pytest.approx(found.shares[image].item())
            rows, columns = torch.where(~own[image])
            if len(rows):  # one rectangle
                area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
                assert area == len(rows)
    vectors = batch(shape=(5, 1, 1))
    assert mixed(vectors, Cutmix(), torch.Generator()).others is None


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 8.0, 50.0])
def test_shares_have_the_moments_of_beta(alpha):
    found = mixed(batch(20_000, (1, 1, 1)), Mixup(alpha=alpha), torch.Generator().manual_seed(3))
    shares = found.shares.double()
    assert shares.isfinite().all()
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0.1), SquaredHinge()])
def test_each_class_counts_by_its_share(loss):
    scores = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    labels, others = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([5, 4, 3, 2, 1])
    shares = torch.tensor([0.0, 0.25, 0.5, 1.0, 0.9])
    images = torch.zeros(5, 1)
    found = loss_of_batch(loss, scores, Batch(images=images, labels=labels, others=others, shares=shares))
    one = [loss_of(loss, scores[i : i + 1], labels[i : i + 1]).item() for i in range(5)]
    two = [loss_of(loss, scores[i : i + 1], others[i : i + 1]).item() for i in range(5)]
    by_hand = np.mean([s * a + (1 - s) * b for s, a, b in zip(shares.tolist(), one, two, strict=True)])
    assert found.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("mix", [None, Mixup(), Cutmix()])
def test_processes_share_the_batch_of_one(mix):
    split = Split(images=RNG.integers(0, 256, (50, 2, 8, 8)).astype(np.uint8), labels=RNG.integers(0, 10, 50))
    spec = TrainSpec(batch=12, augment=(RandomShift(pixels=2), RandomFlip()), mix=mix)

    def batches(rank, size):
        team = Team(rank=rank, size=size, device=torch.device("cpu"))
        feed = make_feed(split, spec, (2, 8, 8), team)
        return list(feed.batches(3, torch.Generator().manual_seed(5), first=1))

    whole = batches(0, 1)
    assert [len(part) for part in whole] == [12, 12, 12]
    shares = [batches(rank, 3) for rank in range(3)]
    for step, expected in enumerate(whole):
        assert torch.equal(torch.cat([shares[rank][step].images for rank in range(3)]), expected.images)
        assert torch.equal(torch.cat([shares[rank][step].labels for rank in range(3)]), expected.labels)
    parts = whole[0].split(4)
    assert torch.equal(torch.cat([part.images for part in parts]), whole[0].images)
