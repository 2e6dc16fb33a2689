"""The learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from bnncc.ir.train_spec import Constant, Cosine, Exponential, Schedule, Step


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
        case Constant():
            return lr
        case Exponential(to=to):
            return lr * math.pow(to / lr, epoch / course.epochs)
        case Step(factor=factor, every=every):
            return lr * math.pow(factor, epoch // every)
        case Cosine(to=to, warm_up=warm_up):
            return _cosine(lr, to, warm_up, step / course.steps)
        case _:
            assert_never(schedule)


def _cosine(lr: float, to: float, warm_up: float, done: float) -> float:
    """Return the rate when the fraction ``done`` of the run is over."""
    if done < warm_up:
        return lr * done / warm_up
    rest = (done - warm_up) / (1 - warm_up)
    return to + (lr - to) * 0.5 * (1 + math.cos(math.pi * rest))
