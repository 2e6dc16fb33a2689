"""Peak resident set of an engine with a network: a child process loads it, runs it, and is asked.

``python -m benchmarks.cpu.memory ENGINE CASE FOLDER`` prints KiB: before the engine is imported, and after it
has run. The models lie in FOLDER already, so building them costs nothing here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cpu.engine import AnyCase, Unavailable
from benchmarks.cpu.peers.larq_engine import LarqChild, task_of

ROOT = Path(__file__).parents[2]
OURS = "bnncc"


def memory_kib(engine: str, case: AnyCase, folder: Path, larq_python: Path | None) -> tuple[int, int]:
    """Return the peak resident set before and after the engine is loaded and has run.

    Raises:
        Unavailable: the engine does not run in a child; the message says why.
    """
    if engine.startswith("Larq"):
        return _of_larq("indirect" in engine, case, larq_python)
    if engine == OURS:
        _store_package(case, folder)
    command = [sys.executable, "-m", "benchmarks.cpu.memory", engine, case.name, str(folder)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=_one_thread())
    if child.returncode != 0:
        raise Unavailable(child.stderr.strip().splitlines()[-1][:200] if child.stderr else "the child failed")
    before, after = child.stdout.split()[-2:]
    return int(before), int(after)


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "BNNCC_NUM_THREADS": "1"}


def _of_larq(indirect: bool, case: AnyCase, python: Path | None) -> tuple[int, int]:
    """Return the same of a child of its environment; converting by TensorFlow is in the second figure."""
    child = LarqChild(python)
    try:
        before = child.ask(do="memory")["kib"]
        child.ask(do="load", name="m", task=task_of(case), threads=1, indirect=indirect)
        child.ask(do="block", name="m", seconds=0)
        return before, child.ask(do="memory")["kib"]
    finally:
        child.close()


def _package(case: Any, folder: Path) -> Path:
    return folder / f"{case.file}pkg"


def _store_package(case: Any, folder: Path) -> None:
    import bnncc
    from benchmarks.cpu.ours import EXAMPLES

    if not _package(case, folder).exists():
        model = bnncc.load(EXAMPLES / case.file)
        bnncc.compile(model, target="c", seed=0).save(_package(case, folder))


def _peak() -> int:
    """Return the peak resident set of this process in KiB; `ru_maxrss` would include its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def main(engine: str, name: str, folder: Path) -> None:
    before = _peak()
    if engine == OURS:
        import bnncc

        file, shape = {
            "ConvNet b1": ("cifar10_convnet.bnnpkg", (1, 3, 32, 32)),
            "MLP b1": ("mnist_mlp.bnnpkg", (1, 1, 28, 28)),
        }[name]
        session = bnncc.Session(folder / file)
        for _ in range(3):
            session(np.zeros(shape, np.uint8))
    else:
        from benchmarks.cpu.main import peers_of
        from benchmarks.cpu.ours import CASES

        case = next(case for case in CASES if case.name == name)
        found = next(item for item in peers_of(None, folder) if item.name == engine)
        runner = found.load(case, 1)
        runner.block(0)
    print(before, _peak())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
