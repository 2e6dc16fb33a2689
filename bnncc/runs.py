"""Training runs of a network: their folders, and the note that leads from a network to its last run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnncc._files import write_atomically
from bnncc.diagnostics import DataError

RUNS: Final = Path("runs")
BEST: Final = "best.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """What the last training run of a network left behind.

    Args:
        weights: the file of the best weights.
        overrides: network parameters the run was started with.
    """

    weights: Path
    overrides: Mapping[str, str]


def new_run(network: str, runs: Path = RUNS) -> Path:
    """Return the folder of the next run of ``network``: ``runs/NETWORK-N``, not made yet."""
    number = 1
    while (runs / f"{network}-{number}").exists():
        number += 1
    return runs / f"{network}-{number}"


def pointer_path(network: str, runs: Path = RUNS) -> Path:
    """Return the file that names the last run of ``network``."""
    return runs / f"latest-{network}.json"


def remember_run(network: str, weights: Path, overrides: Mapping[str, str], runs: Path = RUNS) -> None:
    """Leave a note of the run's best ``weights`` where `last_run` finds it."""
    content = {"network": network, "weights": str(weights), "overrides": dict(overrides)}
    write_atomically(pointer_path(network, runs), json.dumps(content, indent=1) + "\n")


def last_run(network: str, runs: Path = RUNS) -> LastRun | None:
    """Return the last run of ``network`` started from this folder; None where there is none.

    Raises:
        DataError: the note is damaged.
    """
    note = pointer_path(network, runs)
    if not note.is_file():
        return None
    try:
        content = json.loads(note.read_bytes())
        overrides = {str(name): str(value) for name, value in content["overrides"].items()}
        weights = Path(str(content["weights"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"'{note}' is damaged; delete it, or name the weights with --weights") from error
    return LastRun(weights=weights, overrides=overrides) if weights.is_file() else None
