"""The folder of a run: what is written into it, and when."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch

from bnncc._files import write_atomically
from bnncc._version import __version__
from bnncc.data import Dataset
from bnncc.ir.train_spec import (
    AUGMENTATIONS,
    DISTILLATIONS,
    LOSSES,
    MIXES,
    OPTIMIZERS,
    SCHEDULES,
    Selection,
    TrainSpec,
)
from bnncc.training.checkpoint import save_state, save_weights
from bnncc.training.facts import layer_facts
from bnncc.training.progress import EpochRecord
from bnncc.training.run import Parts, Position, averaged, state_of
from bnncc.training.vitals import overall

_CLAUSES: Final = ("loss", "optimizer", "schedule", "mix", "distill")
_WORDS: Final[Mapping[type, str]] = MappingProxyType(
    {
        kind: word
        for words in (LOSSES, OPTIMIZERS, SCHEDULES, AUGMENTATIONS, MIXES, DISTILLATIONS)
        for word, kind in words.items()
    }
)


def write_checkpoints(parts: Parts, position: Position, folder: Path) -> None:
    """Write weights, state and metrics after an epoch; the first process does, all take part."""
    state = state_of(parts, position)
    if not parts.team.is_first:
        return
    with averaged(parts):
        weights, graph = parts.module.weights(), parts.module.graph
    save_weights(folder / "last.safetensors", weights, graph)
    if position.best_epoch == position.epoch:
        save_weights(folder / "best.safetensors", weights, graph)
    save_state(folder, state)
    lines = "".join(json.dumps(asdict(record), sort_keys=True) + "\n" for record in position.history)
    write_atomically(folder / "metrics.jsonl", lines)
    write_atomically(folder / "metrics.csv", _table(position.history))


def write_unfinished(parts: Parts, position: Position, folder: Path) -> None:
    """Write the state inside an epoch; its weights count only where no epoch is finished yet."""
    state = state_of(parts, position)
    if not parts.team.is_first:
        return
    if not position.history:
        for name in ("last.safetensors", "best.safetensors"):
            save_weights(folder / name, parts.module.weights(), parts.module.graph)
    save_state(folder, state)


def is_kept(spec: TrainSpec, history: Sequence[EpochRecord]) -> bool:
    """Return whether the newest epoch is the one to compile: the first best on validation, or the last."""
    if spec.select is Selection.LAST:
        return True
    newest = history[-1].accuracy
    earlier = [record.accuracy for record in history[:-1] if record.accuracy is not None]
    return newest is not None and newest > max(earlier, default=-1.0)


def _table(history: Sequence[EpochRecord]) -> str:
    """Return the metrics as CSV: an epoch a line, vitals averaged over the layers."""
    text = io.StringIO()
    vitals = ("clipped", "saturated", "dead")
    plain = ("epoch", "loss", "train_accuracy", "learning_rate", "accuracy", "watched", "flipped", "seconds")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*plain, *vitals))
    for record in history:
        writer.writerow(
            [*(getattr(record, name) for name in plain), *(overall(record.layers, what) for what in vitals)]
        )
    return text.getvalue()


def write_config(
    folder: Path, parts: Parts, dataset: Dataset, *, source: str | None, define: dict[str, str]
) -> None:
    """Write what the run is made of: recipe, data, layers, machine, versions, and its source."""
    recipe = parts.spec
    config: dict[str, Any] = {
        "recipe": json.loads(json.dumps(asdict(recipe), default=lambda value: value.value)),
        "clauses": {
            name: _WORDS[type(getattr(recipe, name))]
            for name in _CLAUSES
            if getattr(recipe, name) is not None
        }
        | {"augment": [_WORDS[type(clause)] for clause in recipe.augment]},
        "identity": dict(parts.identity),
        "define": define,
        "data": {"name": dataset.name, "notes": list(dataset.notes), "test_images": len(dataset.test)},
        "layers": layer_facts(parts.module.graph),
        "device": str(parts.team.device),
        "threads": torch.get_num_threads(),
        "versions": {"bnncc": __version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    write_atomically(folder / "config.json", json.dumps(config, indent=1, sort_keys=True) + "\n")
    if source is not None:
        write_atomically(folder / "model.bnn", source)
