"""What a ``train { }`` block says, typed: loss, optimizer, schedule, augmentation and the numbers of a run.

Every clause that takes arguments is a frozen dataclass whose fields are its arguments, with their defaults.
``LOSSES``, ``OPTIMIZERS``, ``SCHEDULES``, ``AUGMENTATIONS``, ``MIXES`` and ``DISTILLATIONS`` give the class
behind each word of the language, `bounds` the values that an argument may take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The values an argument may take: ``low <= value <= high``, or ``low < value`` where ``is_open``."""

    low: float
    high: float = math.inf
    is_open: bool = False

    def allow(self, value: float) -> bool:
        """Return whether ``value`` is one of them."""
        return self.low <= value <= self.high and not (self.is_open and value == self.low)

    def __str__(self) -> str:
        lower = f"{'above' if self.is_open else 'at least'} {self.low:g}"
        return lower if self.high == math.inf else f"{lower} and at most {self.high:g}"


def _number(default: float, low: float, high: float = math.inf, *, is_open: bool = False) -> float:
    return field(default=default, metadata={"bounds": Bounds(low=low, high=high, is_open=is_open)})


def _count(default: int, low: int, high: float = math.inf) -> int:
    return field(default=default, metadata={"bounds": Bounds(low=low, high=high)})


def _rate(default: float) -> float:
    """Return a field for a learning rate."""
    return _number(default, 0, 100, is_open=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaredHinge:
    """``mean(max(0, 1 - t * score)^2)`` with ``t`` = +1 for the true class, else -1 (the paper's loss)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy:
    """``mean(-log softmax(scores)[class])``, ``label_smoothing`` of the target spread over all classes."""

    label_smoothing: float = _number(0.0, 0, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam (Kingma, Ba 2015)."""

    lr: float = _rate(1e-2)
    beta1: float = _number(0.9, 0, 0.99999)
    beta2: float = _number(0.999, 0, 0.999999)
    eps: float = _number(1e-8, 0, 1, is_open=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay ``w -= lr * weight_decay * w`` (Loshchilov, Hutter 2019).

    Weights decay, latent or real; parameters of batch norms do not. On latent weights it makes signs flip
    more easily, it does not make the network simpler.
    """

    lr: float = _rate(1e-2)
    beta1: float = _number(0.9, 0, 0.99999)
    beta2: float = _number(0.999, 0, 0.999999)
    eps: float = _number(1e-8, 0, 1, is_open=True)
    weight_decay: float = _number(1e-4, 0, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bop:
    """The binary optimizer (Helwegen et al. 2019, algorithm 1); Adam with ``lr`` for all that is not binary.

    With ``m = (1 - gamma) m + gamma g``, a binary weight flips where ``|m| > threshold`` and ``m`` has its
    sign. ``gamma`` falls with the schedule as the learning rate does. ``rate_scale`` and ``weight_clip``
    mean nothing to it.
    """

    lr: float = _rate(1e-2)
    gamma: float = _number(1e-3, 0, 1, is_open=True)
    threshold: float = _number(1e-6, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftAdaMax:
    """Shift-based AdaMax (Courbariaux, Hubara et al. 2016, algorithm 3).

    ``t7_quirk`` keeps ``AP2(v)`` instead of ``v``, as the authors' Torch7 code does; ``v`` then never decays.
    With the default ``1 - beta1 = 2^-3`` and ``1 - beta2 = 2^-10`` every product is a shift.
    """

    lr: float = _rate(2.0**-7)
    beta1: float = _number(1 - 2.0**-3, 0, 0.99999)
    beta2: float = _number(1 - 2.0**-10, 0, 0.999999)
    eps: float = _number(2.0**-27, 0, 1, is_open=True)
    t7_quirk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with (Nesterov) momentum."""

    lr: float = _rate(1e-2)
    momentum: float = _number(0.9, 0, 0.99999)
    nesterov: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantSchedule:
    """The learning rate never changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialSchedule:
    """The learning rate falls by the same factor after every epoch; after the last it would be ``to``."""

    to: float = _rate(3e-7)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSchedule:
    """The learning rate is multiplied by ``factor`` after every ``every`` epochs."""

    every: int = _count(20, 1)
    factor: float = _number(0.5, 0, 1, is_open=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineSchedule:
    """A linear rise over the first ``warmup`` of all steps, a fraction, then half a cosine down to ``to``."""

    to: float = _number(1e-4, 0, 100)
    warmup: float = _number(0.05, 0, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomShift:
    """Each image moves by up to ``pixels`` in both directions; what enters is pixel value 0."""

    pixels: int = _count(1, 1, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCrop:
    """Each image is cut at random out of itself with ``padding`` pixels of value 0 around it."""

    padding: int = _count(4, 1, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFlip:
    """Half of the images are mirrored left to right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomAffine:
    """Each image moves (pixels), turns (degrees), grows and shears by random amounts up to these."""

    shift: float = _number(1.5, 0, 64)
    rotate: float = _number(7.0, 0, 180)
    zoom: float = _number(0.07, 0, 0.9)
    shear: float = _number(0.05, 0, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixup:
    """Each image becomes ``s x + (1 - s) x'``, x' another of its batch (Zhang et al. 2018).

    It is rounded to whole pixels; ``s`` is drawn from ``Beta(alpha, alpha)``; both classes count by their
    share.
    """

    alpha: float = _number(0.2, 0.01, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutmix:
    """A rectangle of each image comes from another of its batch (Yun et al. 2019).

    Its share of the image is drawn from ``Beta(alpha, alpha)``; both classes count by their share.
    """

    alpha: float = _number(1.0, 0.01, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """The scores of a teacher as a second target of the loss (Hinton, Vinyals, Dean 2015).

    ``(1 - weight) loss + weight T^2 KL(softmax(teacher / T) || softmax(scores / T))``, ``T`` the temperature.
    The teacher is a run of its own, named when training starts.
    """

    temperature: float = _number(4.0, 0, 100, is_open=True)
    weight: float = _number(0.5, 0, 1)


Loss: TypeAlias = SquaredHinge | CrossEntropy
Optimizer: TypeAlias = Adam | AdamW | Bop | ShiftAdaMax | Sgd
Schedule: TypeAlias = ConstantSchedule | ExponentialSchedule | StepSchedule | CosineSchedule
Augmentation: TypeAlias = RandomShift | RandomCrop | RandomFlip | RandomAffine
Mix: TypeAlias = Mixup | Cutmix

LOSSES: Final[Mapping[str, type[Loss]]] = MappingProxyType(
    {"squared_hinge": SquaredHinge, "cross_entropy": CrossEntropy}
)
OPTIMIZERS: Final[Mapping[str, type[Optimizer]]] = MappingProxyType(
    {"adam": Adam, "adamw": AdamW, "bop": Bop, "shift_adamax": ShiftAdaMax, "sgd": Sgd}
)
SCHEDULES: Final[Mapping[str, type[Schedule]]] = MappingProxyType(
    {
        "constant": ConstantSchedule,
        "exponential": ExponentialSchedule,
        "step": StepSchedule,
        "cosine": CosineSchedule,
    }
)
AUGMENTATIONS: Final[Mapping[str, type[Augmentation]]] = MappingProxyType(
    {"shift": RandomShift, "crop": RandomCrop, "flip": RandomFlip, "affine": RandomAffine}
)

MIXES: Final[Mapping[str, type[Mix]]] = MappingProxyType({"mixup": Mixup, "cutmix": Cutmix})
DISTILLATIONS: Final[Mapping[str, type[Distillation]]] = MappingProxyType({"soft": Distillation})


class WeightInit(Enum):
    """How latent weights start: ``U(-1, 1)`` (the paper), or Glorot's uniform distribution."""

    UNIFORM = "uniform"
    GLOROT = "glorot"


class RateScale(Enum):
    """The factor on the learning rate of binary weights.

    ``GLOROT``: ``sqrt((fan_in + fan_out) / 1.5)``, the inverse of Glorot's initial range, as in the
    authors' code; it multiplies the step of latent weights only. ``GLOROT_AP2``: the nearest power of two
    to it, so that it is a shift, as in the authors' Torch7 code for CIFAR-10 and SVHN. ``NONE``: 1.
    """

    GLOROT = "glorot"
    GLOROT_AP2 = "glorot_ap2"
    NONE = "none"


class Selection(Enum):
    """Which weights are kept: of the ``BEST`` epoch on the validation images, or of the ``LAST``."""

    BEST = "best"
    LAST = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """One recipe: everything that decides the trained bits besides the network, the data and the machine.

    Args:
        epochs: passes over the training images.
        batch: images in one step, of all processes together.
        accumulate: parts that a step takes one after another, for what does not fit into memory at once.
            Batch norms see one part at a time; all else is as if the batch were whole.
        seed: of initial weights, order of images, augmentation, dropout and stochastic signs.
        augment: random changes of the training images, one after another.
        mix: of images and their classes with others of the same batch, after ``augment``.
        distill: a second target of the loss, the scores of a teacher.
        weight_clip: latent weights are clipped to ``[-weight_clip, weight_clip]`` after each step.
        validation: training images set aside to watch the error and to choose the best epoch.
        select: ``BEST`` needs validation images; the test images never choose.
        reestimate: training images over which batch-norm statistics are averaged again with the final
            weights; 0: not done.
        ema: weight of the old in the running average ``e = ema e + (1 - ema) w`` of all trained parameters
            after every step; the average is what is measured and kept. 0: none, the parameters themselves.
    """

    loss: Loss = CrossEntropy()
    optimizer: Optimizer = Adam()
    schedule: Schedule = CosineSchedule()
    epochs: int = _count(20, 1, 1_000_000)
    batch: int = _count(250, 2, 1_000_000)
    accumulate: int = _count(1, 1, 1_000_000)
    seed: int = _count(1, 0, 2**32 - 1)
    augment: tuple[Augmentation, ...] = ()
    mix: Mix | None = None
    distill: Distillation | None = None
    weight_init: WeightInit = WeightInit.UNIFORM
    rate_scale: RateScale = RateScale.GLOROT
    weight_clip: float = _number(1.0, 0, 1000, is_open=True)
    validation: int = _count(0, 0)
    select: Selection = Selection.LAST
    reestimate: int = _count(0, 0)
    ema: float = _number(0.0, 0, 0.99999)


Clause: TypeAlias = Loss | Optimizer | Schedule | Augmentation | Mix | Distillation | TrainSpec


def bounds(clause: type[Clause], name: str) -> Bounds | None:
    """Return the values the argument ``name`` of ``clause`` may take; None where any of its type will do."""
    for item in fields(clause):
        if item.name == name:
            return cast("Bounds | None", item.metadata.get("bounds"))
    return None
