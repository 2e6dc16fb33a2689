"""What a run tells while it goes on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TextIO


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One line of ``metrics.jsonl``.

    Args:
        epoch: from 1.
        loss: mean over the steps of the epoch.
        train_accuracy: on the augmented images while the weights moved.
        accuracy: of the network of inference on ``watched`` images, None where it was not measured.
        watched: ``validation`` or ``test``.
        flipped: fraction of the binary weights whose sign changed during the epoch.
        seconds: of training and measuring.
        layers: more of each binary weight and of each sign, by name: see `bnncc.training.vitals`.
    """

    epoch: int
    loss: float
    train_accuracy: float
    learning_rate: float
    accuracy: float | None
    watched: str
    flipped: float
    seconds: float
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """Where a run is; ``loss`` is the mean over the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run is going to do."""

    network: str
    dataset: str
    notes: tuple[str, ...]
    train_images: int
    watched_images: int
    watched: str
    epochs: int
    steps_per_epoch: int
    first_epoch: int
    device: str
    precision: str
    processes: int = 1


class Observer(Protocol):
    """Someone who watches a run; the loop waits until each call returns."""

    def started(self, plan: RunPlan) -> None:
        """Hear what is going to be done."""

    def stepped(self, report: StepReport) -> None:
        """Hear of progress inside an epoch, several times a second at most."""

    def finished_epoch(self, record: EpochRecord) -> None:
        """Hear the result of an epoch; its checkpoint is written."""


@dataclass(frozen=True, slots=True)
class PlainLines:
    """An observer that writes one line an epoch."""

    stream: TextIO = sys.stderr

    def started(self, plan: RunPlan) -> None:
        """Write what is going to be done."""
        self._write(
            f"{plan.network} on {plan.dataset}: {plan.train_images:,} images, {plan.epochs} epochs of "
            f"{plan.steps_per_epoch} steps, {plan.device}, products of signs in {plan.precision}"
            + (f", {plan.processes} processes" if plan.processes > 1 else "")
        )
        for note in plan.notes:
            self._write(f"note: {note}")
        if plan.first_epoch > 1:
            self._write(f"continuing in epoch {plan.first_epoch}")

    def stepped(self, report: StepReport) -> None:
        """Write nothing."""

    def finished_epoch(self, record: EpochRecord) -> None:
        """Write the result of the epoch."""
        measured = "" if record.accuracy is None else f", {record.watched} {record.accuracy:.2%}"
        self._write(
            f"epoch {record.epoch}: loss {record.loss:.4f}, train {record.train_accuracy:.2%}{measured}, "
            f"{record.seconds:.1f} s"
        )

    def _write(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


class Silence:
    """An observer that does nothing."""

    def started(self, plan: RunPlan) -> None:
        """Do nothing."""

    def stepped(self, report: StepReport) -> None:
        """Do nothing."""

    def finished_epoch(self, record: EpochRecord) -> None:
        """Do nothing."""
