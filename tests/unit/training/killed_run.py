"""Trains a network twice: straight through, and killed at random moments. Run by `test_kill.py`.

Children are forked after everything is imported, also what torch and matplotlib import when first used: a
fresh process would spend seconds on that, every time, and be killed before its first step.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401 -- see above
import numpy as np
import torch._dynamo  # noqa: F401 -- see above

from bnncc.data import load_dataset
from bnncc.data.dataset import Dataset
from bnncc.diagnostics import DataError
from bnncc.ir import train_spec
from bnncc.training.checkpoint import load_state, load_weights
from bnncc.training.fit import FitOptions, fit
from bnncc.training.machine import Precision
from bnncc.training.progress import Silence
from tests.unit.training import nets

SPEC = train_spec.TrainSpec(
    epochs=10,
    batch=25,
    augment=(train_spec.RandomShift(pixels=1),),
    validation=50,
    select=train_spec.Selection.BEST,
    reestimate=200,
    ema=0.9,
)


def network():
    net = nets.Net(0, (1, 8, 8), is_bound=False)
    x = net.add(nets.nn.Dropout, x=net.flatten(net.normalize(net.input)), rate=nets.Fraction(1, 10))
    x = net.sign(net.batch_norm(net.dense(x, 48)), stochastic=True)
    x = net.sign(net.batch_norm(net.dense(x, 48)))
    return net.graph("killed", net.batch_norm(net.dense(x, 10)))


def train(folder: Path, data: Dataset) -> int:
    """Return the process that trains in ``folder``, going on where there is a state."""
    child = os.fork()
    if child:
        return child
    has_state = (folder / "state.safetensors").exists()
    options = FitOptions(run_dir=folder, threads=1, precision=Precision.FLOAT32, resume=has_state)
    fit(network(), SPEC, data, options, Silence())
    os._exit(0)


def finished_epochs(folder: Path) -> int:
    """Return how far the run is; every file that is there has to be whole."""
    for name in ("best.safetensors", "last.safetensors"):
        if (folder / name).exists():
            load_weights(folder / name)
    try:
        return int(load_state(folder).facts["epoch"])
    except DataError:
        assert not (folder / "state.safetensors").exists()
        return 0


def wait_for_epochs(folder: Path, wanted: int) -> None:
    """Wait until the metrics of ``folder`` have ``wanted`` lines."""
    metrics = folder / "metrics.jsonl"
    while wanted and not (metrics.exists() and metrics.read_text().count("\n") >= wanted):
        time.sleep(0.002)


def main() -> None:
    root, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    digits = load_dataset("digits")
    data = Dataset(
        name="digits",
        class_names=digits.class_names,
        train=digits.train.at(np.arange(400)),
        test=digits.test,
    )
    began = time.monotonic()
    assert os.waitpid(train(root / "straight", data), 0)[1] == 0
    length = time.monotonic() - began
    epochs: list[int] = []
    killed = 0
    for number in range(kills):
        child = train(root / "killed", data)
        # A kill every few epochs, at a random moment of the next one, however fast the machine is.
        wait_for_epochs(root / "killed", number * (SPEC.epochs - 2) // kills)
        time.sleep(rng.uniform(0, 1.5) * length / SPEC.epochs)
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        epochs.append(finished_epochs(root / "killed"))
    assert os.waitpid(train(root / "killed", data), 0)[1] == 0
    json.dump({"killed": killed, "epochs_when_killed": epochs}, sys.stdout)


if __name__ == "__main__":
    main()
