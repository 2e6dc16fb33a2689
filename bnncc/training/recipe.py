"""The recipes of the paper, and ours, as functions from one train block to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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

Preset = Callable[[TrainSpec, str], TrainSpec]
"""From a train block and the name of a data set to another train block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """The numbers of the paper for one data set; ``to`` and ``every`` belong to the schedule."""

    epochs: int
    batch: int
    validation: int
    lr: float
    to: float = 3e-7
    every: int = 20
    rate_scale: RateScale = RateScale.GLOROT


_THEANO: Final[Mapping[str, _Task]] = MappingProxyType(
    {
        "mnist": _Task(epochs=1000, batch=100, validation=10_000, lr=3e-3),
        "cifar10": _Task(epochs=500, batch=50, validation=5000, lr=1e-3),
        "svhn": _Task(epochs=200, batch=50, validation=6000, lr=1e-3, to=1e-6),
    }
)
_TORCH7: Final[Mapping[str, _Task]] = MappingProxyType(
    {
        "mnist": _Task(epochs=200, batch=100, validation=10_000, lr=2.0**-6),
        "cifar10": _Task(
            epochs=500, batch=200, validation=5000, lr=2.0**-6, every=50, rate_scale=RateScale.GLOROT_AP2
        ),
        "svhn": _Task(epochs=200, batch=200, validation=6000, lr=2.0**-7, rate_scale=RateScale.GLOROT_AP2),
    }
)
_BINARYCONNECT: Final[Mapping[str, _Task]] = MappingProxyType(
    {
        "mnist": _Task(epochs=250, batch=100, validation=10_000, lr=1e-3, to=3e-6),
        "svhn": _Task(epochs=200, batch=50, validation=6000, lr=1e-2, to=3e-6),
    }
)


def _task(tasks: Mapping[str, _Task], spec: TrainSpec, data: str, other: _Task) -> _Task:
    """Return the numbers for the data set ``data``, whatever its transforms; else ``spec``'s own."""
    name = data.partition("+")[0]
    if name in tasks:
        return tasks[name]
    return replace(other, epochs=spec.epochs, batch=spec.batch, validation=spec.validation)


def paper_theano(spec: TrainSpec, data: str) -> TrainSpec:
    """Return ``spec`` with the recipe of the paper's Theano experiments on ``data``.

    ========  ======  =====  ==========  ================
    data      epochs  batch  validation  learning rate
    ========  ======  =====  ==========  ================
    mnist     1000    100    10,000      3e-3 to 3e-7
    cifar10   500     50     5,000       1e-3 to 3e-7
    svhn      200     50     6,000       1e-3 to 1e-6
    ========  ======  =====  ==========  ================

    Squared hinge loss, Adam, a rate that falls exponentially after every epoch, latent weights from U(-1,
    1), clipped to [-1, 1], their rate multiplied by ``sqrt((fan_in + fan_out) / 1.5)``; no augmentation.
    The epoch with the best validation accuracy is kept, and nothing is trained again on the validation
    images. Any other data set keeps the epochs, batch and validation images of ``spec``, and the rate of
    its Adam.

    The rest belongs to the network: deterministic ``sign``, ``batch_norm(eps = 1e-4, momentum = 0.1)``,
    pixels scaled to [-1, 1], and on MNIST ``dropout(0.2)`` of the input and ``dropout(0.5)`` of hidden
    units.

    Source: the authors' ``Train-time/mnist.py``, ``cifar10.py``, ``svhn.py``, ``binary_net.py``.
    """
    lr = spec.optimizer.lr if isinstance(spec.optimizer, Adam) else 3e-3
    task = _task(_THEANO, spec, data, _Task(epochs=1, batch=2, validation=0, lr=lr))
    return replace(
        _of_the_paper(spec, task),
        optimizer=Adam(lr=task.lr),
        schedule=ExponentialSchedule(to=task.to),
    )


def paper_torch7(spec: TrainSpec, data: str) -> TrainSpec:
    """Return ``spec`` with the recipe of the paper's Torch7 experiments on ``data``.

    ========  ======  =====  ==========  =============================  ===============
    data      epochs  batch  validation  learning rate                  Glorot factor
    ========  ======  =====  ==========  =============================  ===============
    mnist     200     100    10,000      2^-6, halved every 20 epochs   as it is
    cifar10   500     200    5,000       2^-6, halved every 50 epochs   AP2
    svhn      200     200    6,000       2^-7, halved every 20 epochs   AP2
    ========  ======  =====  ==========  =============================  ===============

    Squared hinge loss; shift-based AdaMax as the code has it: ``beta1 = 0.9``, ``beta2 = 0.999``, and the
    state keeps ``AP2(v)``. Latent weights start from U(-1, 1) and are clipped to [-1, 1]. The code runs
    without end and logs every epoch; here the best validation epoch is kept, the test images choose
    nothing. Any other data set keeps the epochs, batch and validation images of ``spec``, and the rate of
    its shift-based AdaMax.

    The rest belongs to the network and the data: ``shift_batch_norm`` with a plain ``batch_norm`` last,
    ``hard_tanh -> sign(stochastic = true)``, no dropout; ``--data cifar10+gcn+zca`` and ``svhn+gcn+lcn``.

    Source: the authors' ``Main_BinaryNet_*.lua``, ``adaMax_binary_clip_shift.lua``.
    """
    lr = spec.optimizer.lr if isinstance(spec.optimizer, ShiftAdaMax) else 2.0**-6
    every = spec.schedule.every if isinstance(spec.schedule, StepSchedule) else 20
    task = _task(_TORCH7, spec, data, _Task(epochs=1, batch=2, validation=0, lr=lr, every=every))
    return replace(
        _of_the_paper(spec, task),
        optimizer=ShiftAdaMax(lr=task.lr, beta1=0.9, beta2=0.999, t7_quirk=True),
        schedule=StepSchedule(every=task.every, factor=0.5),
    )


def _of_the_paper(spec: TrainSpec, task: _Task) -> TrainSpec:
    """Return what both variants of the paper share."""
    return replace(
        spec,
        loss=SquaredHinge(),
        epochs=task.epochs,
        batch=task.batch,
        augment=(),
        weight_init=WeightInit.UNIFORM,
        rate_scale=task.rate_scale,
        weight_clip=1.0,
        validation=task.validation,
        select=Selection.BEST if task.validation else Selection.LAST,
        reestimate=0,
        ema=0.0,
        mix=None,
        distill=None,
        accumulate=1,
    )


def modern(spec: TrainSpec, _data: str) -> TrainSpec:
    """Return ``spec`` with our recipe: Adam, a warm-up and a cosine, statistics averaged anew at the end.

    Loss, epochs, batch, seed and augmentation stay. All images are trained on and the last epoch counts:
    after a cosine there is nothing to select. Nothing in it costs anything at inference.
    """
    return replace(
        spec,
        optimizer=Adam(lr=3e-3),
        schedule=CosineSchedule(to=1e-6, warmup=0.05),
        weight_init=WeightInit.UNIFORM,
        rate_scale=RateScale.GLOROT,
        weight_clip=1.0,
        validation=0,
        select=Selection.LAST,
        reestimate=20_000,
    )


def binaryconnect(spec: TrainSpec, data: str) -> TrainSpec:
    """Return ``spec`` with the recipe of BinaryConnect on ``data``.

    =====  ======  =====  ==========  =============
    data   epochs  batch  validation  learning rate
    =====  ======  =====  ==========  =============
    mnist  250     100    10,000      1e-3 to 3e-6
    svhn   200     50     6,000       1e-2 to 3e-6
    =====  ======  =====  ==========  =============

    It is `paper_theano` with other numbers: squared hinge loss, Adam, clipping, rates by Glorot; any other
    data set keeps the epochs, batch and validation images of ``spec``, and the rate of its Adam. The authors
    also draw the signs of weights at random; here they are deterministic. Real activations belong to the
    network: ``relu`` where a binary one has ``sign``.

    Source: the code of Courbariaux, Bengio, David 2015, ``mnist.py`` and ``svhn.py``.
    """
    lr = spec.optimizer.lr if isinstance(spec.optimizer, Adam) else 1e-3
    task = _task(_BINARYCONNECT, spec, data, _Task(epochs=1, batch=2, validation=0, lr=lr))
    return replace(
        _of_the_paper(spec, task), optimizer=Adam(lr=task.lr), schedule=ExponentialSchedule(to=task.to)
    )


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "paper-theano": paper_theano,
        "paper-torch7": paper_torch7,
        "binaryconnect": binaryconnect,
        "modern": modern,
    }
)
