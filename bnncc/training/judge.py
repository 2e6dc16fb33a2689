"""How good a network is, by the rules of inference; and statistics taken anew for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnncc.data import Split
from bnncc.data.dataset import Images
from bnncc.ir.nn import NnGraph
from bnncc.training.float_graph import FloatMode
from bnncc.training.module import BnnModule
from bnncc.training.run import Parts, averaged
from bnncc.training.team import Team


def accuracy(module: BnnModule, split: Split, team: Team) -> float:
    """Return the fraction of images whose highest score, the first of equals, is that of their class.

    Each process of ``team`` looks at a share of the images.
    """
    share = slice(team.rank, None, team.size)
    images, labels = split.images[share], split.labels[share]
    hits = int((module.eval_scores(images).argmax(axis=1) == labels).sum()) if len(labels) else 0
    return team.sum_of(hits) / len(split)


def watched_accuracy(parts: Parts) -> float:
    """Return the accuracy on the watched images, of the averages where there are any."""
    with averaged(parts):
        return accuracy(parts.module.eval(), parts.watched, parts.team)


def evaluate_torch(
    graph: NnGraph,
    weights: Mapping[str, npt.NDArray[Any]] | Mapping[str, Tensor],
    images: Images,
) -> npt.NDArray[np.float32]:
    """Return the scores of ``images``, computed by torch with the rules of inference.

    Shapes:
        images: ``[N, C, H, W]`` or ``[N, *shape of the input]`` u8. result: ``[N, classes]``.

    Raises:
        DataError: if weights are missing or of another shape, or the images do not fit.
    """
    module = BnnModule(graph)
    module.set_weights({name: torch.as_tensor(np.array(value)) for name, value in weights.items()})
    return module.eval_scores(images)


def reestimate(parts: Parts) -> None:
    """Average the statistics of every batch norm anew over batches of ``spec.reestimate`` training images."""
    wanted = -(-parts.spec.reestimate // parts.feed.batch)
    parts.module.train()
    batches = parts.feed.batches(parts.spec.epochs, parts.generator)
    for number, batch in enumerate(batches, start=1):
        mode = FloatMode(momentum=1 / number, is_estimating=True, team=parts.team)
        with parts.module.computing(mode), torch.no_grad():
            parts.module(batch.images)
        if number == wanted:
            return
