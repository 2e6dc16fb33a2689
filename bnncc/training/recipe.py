"""The recipes of the paper, and ours, as functions from one train block to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from bnncc.ir.train_spec import (
    Adam,
    CosineSchedule,
    ExponentialSchedule,
    RateScale,
    Selection,
    ShiftAdaMax,
    SquaredHinge,
    StepSchedule,
    TrainSpec,
    WeightInit,
)

Preset = Callable[[TrainSpec], TrainSpec]


def paper_theano(spec: TrainSpec) -> TrainSpec:
    """Return ``spec`` with the recipe of the paper's Theano experiments.

    Epochs, batch, seed and validation images stay, and so does the learning rate of an Adam in ``spec``: the
    paper has 3e-3 for the MLP and 1e-3 for the ConvNets, 1,000 epochs of batch 100 and 500 of batch 50. The
    epoch with the best validation accuracy is kept, where there are validation images.

    Source: the authors' ``Train-time/mnist.py``, ``cifar10.py``, ``binary_net.py``.
    """
    lr = spec.optimizer.lr if isinstance(spec.optimizer, Adam) else 3e-3
    return replace(
        spec,
        loss=SquaredHinge(),
        optimizer=Adam(lr=lr),
        schedule=ExponentialSchedule(to=3e-7),
        augment=(),
        weight_init=WeightInit.UNIFORM,
        rate_scale=RateScale.GLOROT,
        weight_clip=1.0,
        select=Selection.BEST if spec.validation else Selection.LAST,
        reestimate=0,
    )


def paper_torch7(spec: TrainSpec) -> TrainSpec:
    """Return ``spec`` with the recipe of the paper's Torch7 experiments, for networks of shift-based norms.

    Epochs, batch, seed and validation images stay, and so do a step schedule and the learning rate of a
    shift-based AdaMax in ``spec`` (2^-6; halved every 20 epochs on MNIST and SVHN, every 50 on CIFAR-10).
    Random signs are attributes of the network's ``sign`` layers.

    Source: the authors' ``Main_BinaryNet_*.lua``, ``adaMax_binary_clip_shift.lua``.
    """
    lr = spec.optimizer.lr if isinstance(spec.optimizer, ShiftAdaMax) else 2.0**-6
    schedule = (
        spec.schedule if isinstance(spec.schedule, StepSchedule) else StepSchedule(every=20, factor=0.5)
    )
    return replace(
        spec,
        loss=SquaredHinge(),
        optimizer=ShiftAdaMax(lr=lr, beta1=0.9, beta2=0.999),
        schedule=schedule,
        augment=(),
        weight_init=WeightInit.UNIFORM,
        rate_scale=RateScale.GLOROT,
        weight_clip=1.0,
        select=Selection.BEST if spec.validation else Selection.LAST,
        reestimate=0,
    )


def modern(spec: TrainSpec) -> TrainSpec:
    """Return ``spec`` with our recipe: Adam, a warm-up and a cosine, statistics averaged anew at the end.

    Loss, epochs, batch, seed and augmentation stay. All images are trained on and the last epoch counts:
    after a cosine there is nothing to select. Nothing in it costs anything at inference.
    """
    return replace(
        spec,
        optimizer=Adam(lr=1e-2),
        schedule=CosineSchedule(to=1e-4, warmup=0.05),
        weight_init=WeightInit.UNIFORM,
        rate_scale=RateScale.GLOROT,
        weight_clip=1.0,
        validation=0,
        select=Selection.LAST,
        reestimate=20_000,
    )


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {"paper-theano": paper_theano, "paper-torch7": paper_torch7, "modern": modern}
)
