"""The learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from bnncc.ir.train_spec import ConstantSchedule, CosineSchedule, ExponentialSchedule, Schedule, StepSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long a run is: ``epochs`` of ``steps_per_epoch`` steps each."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Return the number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch


def learning_rate(schedule: Schedule, lr: float, step: int, course: Course) -> float:
    """Return the learning rate of ``step`` (from 0), given the one that the optimizer clause names."""
    epoch = step // course.steps_per_epoch
    match schedule:
        case ConstantSchedule():
            return lr
        case ExponentialSchedule(to=to):
            return lr * math.pow(to / lr, epoch / course.epochs)
        case StepSchedule(factor=factor, every=every):
            return lr * math.pow(factor, epoch // every)
        case CosineSchedule(to=to, warmup=warmup):
            return _cosine(lr, to, warmup, step / course.steps)
        case _:
            assert_never(schedule)


def _cosine(lr: float, to: float, warmup: float, done: float) -> float:
    """Return the rate when the fraction ``done`` of the run is over."""
    if done < warmup:
        return lr * done / warmup
    rest = (done - warmup) / (1 - warmup)
    return to + (lr - to) * 0.5 * (1 + math.cos(math.pi * rest))
