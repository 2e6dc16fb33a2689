"""The losses of the train block."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from bnncc.ir.train_spec import CrossEntropy, Loss, SquaredHinge


def squared_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """Return ``mean(max(0, 1 - t * score)^2)``, ``t`` = +1 for the true class, else -1.

    Source: Courbariaux, Hubara et al. 2016, section 2; the authors' code averages over classes too.
    """
    targets = torch.full_like(scores, -1.0).scatter_(1, labels[:, None], 1.0)
    return F.relu(1 - targets * scores).square().mean()


def loss_of(loss: Loss, scores: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a batch. Shapes: scores ``[N, classes]`` f32, labels ``[N]`` i64."""
    match loss:
        case SquaredHinge():
            return squared_hinge(scores, labels)
        case CrossEntropy(label_smoothing=smoothing):
            return F.cross_entropy(scores, labels, label_smoothing=smoothing)
        case _:
            assert_never(loss)
