"""What a run is made of, put together: network, optimizer, images, teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bnncc.data import Dataset, split_off
from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph
from bnncc.ir.train_spec import Distillation, Selection, TrainSpec
from bnncc.training.checkpoint import graph_digest
from bnncc.training.feed import make_feed
from bnncc.training.float_graph import FloatMode
from bnncc.training.machine import Precision, choose_dtype
from bnncc.training.module import BnnModule, fit_images
from bnncc.training.optim import build_optimizer, trained
from bnncc.training.parameters import fill_range
from bnncc.training.run import Parts
from bnncc.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A trained network whose scores are to be imitated.

    Args:
        graph: any network with the same input and as many scores, most often with real weights.
        weights: its parameters by name.
        name: what to call it.
    """

    graph: NnGraph
    weights: Mapping[str, Tensor]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a run begins from, besides its recipe.

    Args:
        precision: of the operands of binary products.
        weights: parameters to start from, by name; None draws them.
        teacher: whom to imitate, as ``distill`` of the recipe says, or by its defaults.
    """

    precision: Precision = Precision.AUTO
    weights: Mapping[str, Tensor] | None = None
    teacher: Teacher | None = None


def make_parts(graph: NnGraph, spec: TrainSpec, dataset: Dataset, team: Team, beginning: Beginning) -> Parts:
    """Return the parts of a run in its first position.

    Raises:
        DataError: if images, classes, batch, weights or teacher do not fit the network.
    """
    _require_fit(graph, spec, dataset)
    spec = _distilling(spec, beginning.teacher)
    train, watched, name = dataset.train, dataset.test, "test"
    if spec.validation:
        train, watched = split_off(dataset.train, spec.validation)
        name = "validation"
    generator = torch.Generator().manual_seed(spec.seed)
    module = BnnModule(graph, spec.weight_init, generator).to(team.device)
    if beginning.weights is not None:
        module.set_weights(fill_range(beginning.weights, module.roles))
    dtype = choose_dtype(beginning.precision, graph, team.device)
    module.mode = FloatMode(dtype=dtype, team=team)
    parameters = trained(module, spec.rate_scale)
    feed = make_feed(train, spec, graph.inputs[0].type.shape, team)
    return Parts(
        module=module,
        optimizer=build_optimizer(spec.optimizer, parameters),
        trained=parameters,
        feed=feed,
        watched=watched,
        watched_name=name,
        generator=generator,
        team=team,
        spec=spec,
        identity=_identity(module, spec, dataset, dtype, beginning, team),
        averages={item.name: item.parameter.detach().clone() for item in parameters} if spec.ema else {},
        teacher=_teacher_module(graph, beginning.teacher, team),
    )


def _distilling(spec: TrainSpec, teacher: Teacher | None) -> TrainSpec:
    """Return ``spec``, which distills where there is a teacher and only there: one file trains both."""
    return replace(spec, distill=None if teacher is None else spec.distill or Distillation())


def _teacher_module(graph: NnGraph, teacher: Teacher | None, team: Team) -> BnnModule | None:
    if teacher is None:
        return None
    ours, theirs = (g.outputs[0].value.type.count for g in (graph, teacher.graph))
    if ours != theirs or graph.inputs[0].type.count != teacher.graph.inputs[0].type.count:
        raise DataError(
            f"The teacher {teacher.name} takes {teacher.graph.inputs[0].type} and gives {theirs} scores; "
            f"'{graph.name}' takes {graph.inputs[0].type} and gives {ours}."
        )
    module = BnnModule(teacher.graph)
    module.set_weights(teacher.weights)
    return module.requires_grad_(requires_grad=False).to(team.device).eval()


def _identity(
    module: BnnModule,
    spec: TrainSpec,
    dataset: Dataset,
    dtype: torch.dtype,
    beginning: Beginning,
    team: Team,
) -> dict[str, Any]:
    """Return what must be the same when a run is resumed."""
    found = {
        "network": f"{module.graph.name} {graph_digest(module.graph)}",
        "recipe": repr(spec),
        "data": f"{dataset.name}, {len(dataset.train)} images",
        "precision": str(dtype).removeprefix("torch."),
        "processes": str(team.size),
    }
    if beginning.teacher is not None:
        found["teacher"] = f"{beginning.teacher.name} {graph_digest(beginning.teacher.graph)}"
    return found


def _require_fit(graph: NnGraph, spec: TrainSpec, dataset: Dataset) -> None:
    fit_images(graph, dataset.train.images[:1])
    fit_images(graph, dataset.test.images[:1])
    scores = graph.outputs[0].value.type
    if len(scores.shape) != 1:
        raise DataError(
            f"The first output of '{graph.name}' is {scores}; training needs one score per class."
        )
    if scores.count < len(dataset.class_names):
        raise DataError(
            f"The network '{graph.name}' has {scores.count} scores, but '{dataset.name}' has "
            f"{len(dataset.class_names)} classes."
        )
    if spec.validation >= len(dataset.train) - 1:
        raise DataError(
            f"{spec.validation:,} validation images are asked for, but '{dataset.name}' has only "
            f"{len(dataset.train):,} training images."
        )
    if spec.select is Selection.BEST and not spec.validation:
        raise DataError("To keep the best epoch, the train block must set validation images aside.")
