"""The course of a run as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from bnncc.training.progress import EpochRecord


def draw_curves(history: Sequence[EpochRecord], title: str) -> bytes:
    """Return a PNG of loss, errors and sign changes over the epochs."""
    # Not pyplot: it keeps figures in a global list and may open a window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [record.epoch for record in history]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    loss, error, flips = figure.subplots(1, 3)
    loss.plot(epochs, [record.loss for record in history], color="tab:blue")
    loss.set(title="loss", xlabel="epoch", yscale="log")
    error.plot(epochs, [100 * (1 - r.train_accuracy) for r in history], label="train", color="tab:grey")
    measured = [record for record in history if record.accuracy is not None]
    if measured:
        error.plot(
            [record.epoch for record in measured],
            [100 * (1 - (record.accuracy or 0)) for record in measured],
            label=measured[-1].watched,
            color="tab:red",
        )
    error.set(title="error, %", xlabel="epoch")
    error.legend()
    flips.plot(epochs, [100 * record.flipped for record in history], color="tab:green")
    flips.set(title="binary weights that changed sign, %", xlabel="epoch")
    if title:
        figure.suptitle(title)
    for axis in (loss, error, flips):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25)
    target = io.BytesIO()
    # matplotlib leaves its canvas without types.
    # matplotlib does not type its canvas.
    canvas.print_png(target)  # type: ignore[no-untyped-call]  # matplotlib has no types
    return target.getvalue()
