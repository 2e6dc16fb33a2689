"""A run as TensorBoard shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnncc.diagnostics import PlatformError
from bnncc.training.checkpoint import load_weights
from bnncc.training.progress import EpochRecord, Observer, RunPlan, StepReport


class TensorBoard:
    """An observer that writes event files into the run's folder, and tells another observer everything too.

    Scalars of every epoch, the vitals of every layer, histograms of the latent weights.

    Args:
        run_dir: folder of the run.
        other: who else watches.

    Raises:
        PlatformError: if TensorBoard is not installed.
    """

    def __init__(self, run_dir: Path, other: Observer) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            hint = "pip install 'bnncc[tensorboard]'"
            raise PlatformError(f"--tensorboard needs '{error.name}': {hint}") from error
        self._run_dir = run_dir
        self._other = other
        self._writer: Any = SummaryWriter(str(run_dir / "tensorboard"))

    def started(self, plan: RunPlan) -> None:
        """Pass it on."""
        self._other.started(plan)

    def stepped(self, report: StepReport) -> None:
        """Write the loss of the epoch so far."""
        self._writer.add_scalar("loss/step", report.loss, (report.epoch - 1) * report.steps + report.step)
        self._other.stepped(report)

    def finished_epoch(self, record: EpochRecord) -> None:
        """Write the figures of the epoch, and histograms of the latent weights in its checkpoint."""
        figures = {
            "loss/epoch": record.loss,
            "accuracy/train": record.train_accuracy,
            "learning_rate": record.learning_rate,
            "flipped": record.flipped,
        }
        if record.accuracy is not None:
            figures[f"accuracy/{record.watched}"] = record.accuracy
        for layer, vitals in record.layers.items():
            figures |= {f"{what}/{layer}": value for what, value in vitals.items()}
        for name, value in figures.items():
            self._writer.add_scalar(name, value, record.epoch)
        for name, weight in load_weights(self._run_dir / "last.safetensors").items():
            if weight.dim() > 1:
                self._writer.add_histogram(f"latent/{name}", weight, record.epoch)
        self._writer.flush()
        self._other.finished_epoch(record)
