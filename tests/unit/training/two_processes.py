"""Several processes that train together, as torchrun would start them. Run by `test_team.py`.

They are forked after everything is imported: three fresh processes would spend seconds on that.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401 -- see above
import numpy as np
import torch._dynamo  # noqa: F401 -- see above

from bnncc.data import load_dataset
from bnncc.data.dataset import Dataset
from bnncc.ir import train_spec
from bnncc.ir.train_spec import TrainSpec
from bnncc.training.fit import FitOptions, fit
from bnncc.training.machine import Precision
from bnncc.training.progress import PlainLines, Silence
from tests.unit.training import nets


def network(kind):
    """Return a small network: of real numbers, of shift-based norms, or with random signs, by ``kind``."""
    net = nets.Net(0, (1, 8, 8), is_bound=False)
    elem = nets.Elem.F32 if kind == "float" else nets.Elem.SIGN
    x = net.conv(net.normalize(net.input, nets.Fraction(1, 8)), 8, elem=elem)
    x = net.batch_norm(net.pool(x))
    x = net.flatten(net.add(nets.nn.HardTanh, x=x) if kind == "float" else net.sign(x))
    x = net.shift_norm(net.dense(x, 32, elem)) if kind == "shift" else net.batch_norm(net.dense(x, 32, elem))
    x = net.add(nets.nn.HardTanh, x=x) if kind == "float" else net.sign(x, stochastic=kind == "random")
    return net.graph("team", net.batch_norm(net.dense(x, 10, elem)))


def images(count=400):
    digits = load_dataset("digits")
    return Dataset(
        name="digits",
        class_names=digits.class_names,
        train=digits.train.at(np.arange(count)),
        test=digits.test,
    )


def spec_of(given):
    mix = train_spec.Mixup() if given.pop("mix", False) else None
    return TrainSpec(
        batch=40,
        augment=(train_spec.RandomShift(pixels=1),),
        optimizer=train_spec.Adam(lr=1e-3),
        mix=mix,
        **{"reestimate": 80, **given},
    )


class Breaks(Silence):
    """Fails after an epoch, as a process does whose disk is full."""

    def finished_epoch(self, record):
        raise OSError(28, "No space left on device")


def train(folder: Path, kind: str, given: dict[str, object]):
    given = dict(given)
    options = FitOptions(
        run_dir=folder,
        threads=1,
        precision=Precision.FLOAT32,
        resume=bool(given.pop("resume", False)),
        checkpoint_steps=given.pop("checkpoint_steps", None),
    )
    observer = Breaks() if given.pop("breaks", False) else PlainLines()
    return fit(network(kind), spec_of(given), images(), options, observer)


def start(rank: int, size: int, port: int) -> int:
    """Return the process ``rank``, which trains; it ends with 1 and a message where that fails."""
    child = os.fork()
    if child:
        return child
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    folder, kind, given = Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    try:
        result = train(folder, kind, given)
        (folder / f"result-{rank}.json").write_text(json.dumps(result.test_accuracy))
    except Exception as error:  # noqa: BLE001 -- a child must never return into the parent's code
        sys.stderr.write(f"process {rank}: {type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def main() -> None:
    size = int(sys.argv[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [start(rank, size, port) for rank in range(size)]
    ends = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(any(ends))


if __name__ == "__main__":
    main()
