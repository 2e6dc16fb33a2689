"""LiteRT with XNNPACK, int8; TensorFlow in the environment of Larq Compute Engine converts the model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cpu.engine import AnyCase, Engine, InProcess, Unavailable
from benchmarks.cpu.peers.larq_engine import LarqChild, task_of

PIP = "pip install ai-edge-litert (and the environment of Larq Compute Engine, whose TensorFlow converts)"


def _load(child: LarqChild | None, folder: Path, case: AnyCase, threads: int) -> InProcess:
    from ai_edge_litert.interpreter import Interpreter

    path = folder / f"{case.name.replace(' ', '_').replace('>', '')}.tflite"
    if not path.exists():
        if child is None:
            raise Unavailable(f"no model: {PIP}")
        child.ask(do="tflite", task=task_of(case), path=str(path))
    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    x = interpreter.get_input_details()[0]
    interpreter.set_tensor(x["index"], np.random.default_rng(1).integers(-99, 99, x["shape"], dtype=np.int8))
    return InProcess(run=interpreter.invoke)


def engines(child: LarqChild | None, folder: Path) -> tuple[Engine, ...]:
    return (Engine("LiteRT int8", "int8", PIP, partial(_load, child, folder)),)
