"""Weights and the state of a run as safetensors: written whole or not at all, never unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from bnncc._files import read_bytes, write_atomically
from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph

_SCHEMA: Final = 1
_STATE_KEY: Final = "bnncc.state"


def graph_digest(graph: NnGraph) -> str:
    """Return a hash of the network without its weights: names, shapes, operations and their attributes."""
    text = repr((graph.name, graph.inputs, graph.nodes, graph.outputs))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def save_weights(path: Path, weights: Mapping[str, Tensor], graph: NnGraph) -> None:
    """Write the latent weights and statistics of ``graph`` under its names.

    Raises:
        DataError: if the file cannot be written; one that was there stays as it is.
    """
    facts = {"kind": "latent", "schema": _SCHEMA, "network": graph.name, "graph": graph_digest(graph)}
    # One key only: safetensors writes several in random order, and equal weights are to be equal files.
    write_atomically(path, save_tensors(dict(weights), {"bnncc": json.dumps(facts, sort_keys=True)}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name.

    Raises:
        DataError: if it is missing or broken.
    """
    return _parse(read_bytes(path, "weights file"), path)


def load_arrays(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Return the tensors of a weights file as float32 arrays."""
    return {name: tensor.float().numpy() for name, tensor in load_weights(path).items()}


def _parse(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"'{path}' is not a whole safetensors file: {error}.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Everything a run needs to continue to the same bits.

    Args:
        facts: position, history and identity of the run, as JSON.
        tensors: parameters, state of the optimizer, states of the generators.
    """

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def save_state(folder: Path, state: RunState) -> None:
    """Write ``state.safetensors``, and ``state.json`` for people to read.

    The JSON travels inside the safetensors file too, and that copy counts: two files cannot be replaced at
    once.
    """
    text = json.dumps({"schema": _SCHEMA, **state.facts}, sort_keys=True)
    write_atomically(folder / "state.safetensors", save_tensors(dict(state.tensors), {_STATE_KEY: text}))
    write_atomically(folder / "state.json", json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n")


def load_state(folder: Path) -> RunState:
    """Return the state of the run in ``folder``.

    Raises:
        DataError: if there is none, or it is broken.
    """
    path = folder / "state.safetensors"
    tensors = _parse(read_bytes(path, "state of a run"), path)
    # The torch reader drops the metadata; this one maps the file and reads only its header.
    with safe_open(path, framework="pt") as header:
        text = (header.metadata() or {}).get(_STATE_KEY, "")
    try:
        facts = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"'{path}' holds no state of a run.") from error
    if facts.get("schema") != _SCHEMA:
        raise DataError(f"'{path}' has schema {facts.get('schema')}; this version reads {_SCHEMA}.")
    return RunState(facts=facts, tensors=tensors)


def generator_tensors(generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """Return the states of ``generator`` and of torch's global generators."""
    found = {"rng/feed": generator.get_state(), "rng/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["rng/cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_generators(
    tensors: Mapping[str, Tensor], generator: torch.Generator, device: torch.device
) -> None:
    """Put the states of `generator_tensors` back."""
    generator.set_state(tensors["rng/feed"])
    torch.set_rng_state(tensors["rng/cpu"])
    if device.type == "cuda" and "rng/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng/cuda"], device)
