"""The losses of the train block."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from bnncc.ir.train_spec import CrossEntropy, Distillation, Loss, SquaredHinge
from bnncc.training.mixing import Batch


def squared_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """Return ``max(0, 1 - t * score)^2`` of each image, the mean over the classes.

    ``t`` is +1 for the class of the image, else -1.

    Source: Courbariaux, Hubara et al. 2016, section 2; the authors' code averages over classes too.
    """
    targets = torch.full_like(scores, -1.0).scatter_(1, labels[:, None], 1.0)
    return F.relu(1 - targets * scores).square().mean(1)


def loss_of(loss: Loss, scores: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a batch. Shapes: scores ``[N, classes]`` f32, labels ``[N]`` i64."""
    return _by_image(loss, scores, labels).mean()


def loss_of_batch(loss: Loss, scores: Tensor, batch: Batch) -> Tensor:
    """Return the loss of ``batch``; where its images are mixed, each class counts by its share."""
    if batch.others is None or batch.shares is None:
        return loss_of(loss, scores, batch.labels)
    first, second = (_by_image(loss, scores, labels) for labels in (batch.labels, batch.others))
    return (batch.shares * first + (1 - batch.shares) * second).mean()


def distilled(spec: Distillation, loss: Tensor, scores: Tensor, teacher: Tensor) -> Tensor:
    """Return ``(1 - weight) loss + weight T^2 KL(softmax(teacher / T) || softmax(scores / T))``.

    Shapes:
        scores, teacher: ``[N, classes]`` f32.

    Source: Hinton, Vinyals, Dean 2015, section 2; the factor ``T^2`` keeps the size of the gradient.
    """
    soft = F.kl_div(
        F.log_softmax(scores / spec.temperature, dim=1),
        F.log_softmax(teacher / spec.temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - spec.weight) * loss + spec.weight * spec.temperature**2 * soft


def _by_image(loss: Loss, scores: Tensor, labels: Tensor) -> Tensor:
    match loss:
        case SquaredHinge():
            return squared_hinge(scores, labels)
        case CrossEntropy(label_smoothing=smoothing):
            return F.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")
        case _:
            assert_never(loss)
