"""What a run takes from earlier ones: a teacher, or weights to start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bnncc._files import read_bytes
from bnncc.codegen.packed_weights import decode_weights
from bnncc.diagnostics import DataError
from bnncc.frontend.load import load_network, parse_overrides
from bnncc.runs import BEST
from bnncc.training.parts import Teacher


def read_teacher(run: Path, source: Path) -> Teacher:
    """Return the network that ``run`` has trained: the one in ``source`` with the run's parameters.

    So one file defines both, for instance with ``-D kind=float`` for the teacher.

    Raises:
        DataError: if ``run`` is no finished run, or of another file.
        CompileError: if the parameters of the run are none of ``source``'s.
    """
    define = _parameters(run)
    graph = load_network(source, parse_overrides([f"{name}={text}" for name, text in define.items()])).graph
    flags = "".join(f" -D {name}={text}" for name, text in define.items())
    return Teacher(graph=graph, weights=read_weights(run), name=f"'{run}' ({graph.name}{flags})")


def read_weights(place: Path) -> dict[str, Tensor]:
    """Return the weights in a file, or the best ones of a run; packed signs come as -1 and +1.

    Raises:
        DataError: if they are missing or broken.
    """
    path = place / BEST if place.is_dir() else place
    arrays = decode_weights(read_bytes(path, "weights file"), str(path))
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()}


def _parameters(run: Path) -> Mapping[str, str]:
    try:
        define = json.loads(read_bytes(run / "config.json", "configuration of a run"))["define"]
        return {str(name): str(text) for name, text in define.items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"'{run}' is no run that can teach: its config.json says no parameters.") from error
