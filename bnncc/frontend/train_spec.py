"""What a ``train { }`` block asks for, checked and typed; the trainer reads nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaredHinge:
    """``mean(max(0, 1 - t * y)^2)``, ``t`` = +1 for the right class and -1 for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy:
    """Softmax cross entropy; ``label_smoothing`` spreads that part of the target over all classes."""

    label_smoothing: float = 0.0


Loss: TypeAlias = SquaredHinge | CrossEntropy


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba 2015); ``lr`` is the learning rate."""

    lr: float = 1e-2
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftAdaMax:
    """Shift-based AdaMax (Courbariaux, Hubara et al. 2016, algorithm 3); the defaults are the paper's."""

    lr: float = 2.0**-10
    beta1: float = 1 - 2.0**-3
    beta2: float = 1 - 2.0**-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with momentum."""

    lr: float = 0.1
    momentum: float = 0.9


Optimizer: TypeAlias = Adam | ShiftAdaMax | Sgd


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantSchedule:
    """The learning rate stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialSchedule:
    """After each epoch the learning rate is multiplied by one factor, so that it ends at ``to``."""

    to: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSchedule:
    """After every ``every`` epochs the learning rate is multiplied by ``factor``."""

    every: int
    factor: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineSchedule:
    """Half a cosine down to ``to``, after a linear rise over the first ``warmup`` (a fraction of all steps)."""

    to: float = 1e-4
    warmup: float = 0.05


Schedule: TypeAlias = ConstantSchedule | ExponentialSchedule | StepSchedule | CosineSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomShift:
    """Each image moves by up to ``pixels`` in each direction."""

    pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCrop:
    """Each image is padded by ``padding`` pixels on each side and cut back to its size at a random place."""

    padding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFlip:
    """Half of the images are mirrored left to right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomAffine:
    """Each image moves by up to ``shift`` pixels, turns by up to ``rotate`` degrees, grows by up to ``zoom``."""

    shift: float = 1.5
    rotate: float = 7.0
    zoom: float = 0.07


Augmentation: TypeAlias = RandomShift | RandomCrop | RandomFlip | RandomAffine


class RateScale(Enum):
    """The factor of each binary layer's learning rate.

    ``GLOROT``: ``sqrt((fan_in + fan_out) / 1.5)``, as in the authors' Theano code. ``NONE``: 1.
    """

    GLOROT = "glorot"
    NONE = "none"


class Selection(Enum):
    """Which weights are kept: those of the ``BEST`` epoch on the validation images, or the ``LAST``."""

    BEST = "best"
    LAST = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """How a network is trained.

    Args:
        batch: images a step.
        weight_clip: latent weights are clipped to ``[-weight_clip, weight_clip]`` after each step.
        validation: training images that are held out to watch the error; 0 uses none.
        reestimate: training images over which the statistics of batch norms are estimated anew after the
            last step; 0 leaves them.
    """

    loss: Loss = CrossEntropy()
    optimizer: Optimizer = Adam()
    schedule: Schedule = CosineSchedule()
    epochs: int = 20
    batch: int = 100
    augment: tuple[Augmentation, ...] = ()
    rate_scale: RateScale = RateScale.GLOROT
    weight_clip: float = 1.0
    validation: int = 0
    select: Selection = Selection.LAST
    reestimate: int = 0
