"""Pictures of a run, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bnncc.training.progress import EpochRecord

Array: TypeAlias = npt.NDArray[Any]


def draw_histograms(latent: Mapping[str, Array]) -> bytes:
    """Return histograms of latent weights, one a layer, on [-1, 1] at least."""
    columns = min(4, len(latent))
    rows = -(-len(latent) // columns)
    figure, canvas = _figure(3 * columns, 2.3 * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, (name, weight) in zip(axes, latent.items(), strict=False):
        reach = max(1.0, float(np.abs(weight).max()))
        axis.hist(weight.ravel(), bins=61, range=(-reach, reach), color="tab:blue")
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
    for axis in axes[len(latent) :]:
        axis.set_axis_off()
    return _png(canvas)


def draw_vitals(history: Sequence[EpochRecord], figures: Mapping[str, str]) -> bytes:
    """Return the course of some figures of `bnncc.training.vitals`, a line a layer.

    Args:
        history: the epochs.
        figures: title of each panel by the name of its figure.
    """
    from matplotlib.ticker import MaxNLocator

    figure, canvas = _figure(6 * len(figures), 3.2)
    panels = np.atleast_1d(figure.subplots(1, len(figures)))
    epochs = [record.epoch for record in history]
    for axis, (what, title) in zip(panels, figures.items(), strict=True):
        for name, values in history[-1].layers.items():
            if what in values:
                course = [100 * record.layers.get(name, {}).get(what, np.nan) for record in history]
                axis.plot(epochs, course, label=name.removesuffix(".weight"), marker="." * (len(epochs) < 3))
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25)
        axis.set_ylim(bottom=0, top=max(1.0, axis.get_ylim()[1]))
        axis.legend(fontsize=8)
    return _png(canvas)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # Not pyplot: it keeps figures in a global list and may open a window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, FigureCanvasAgg(figure)


def _png(canvas: Any) -> bytes:  # noqa: ANN401 -- matplotlib leaves its canvas without types
    target = io.BytesIO()
    canvas.print_png(target)
    return target.getvalue()
