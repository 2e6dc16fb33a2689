"""Larq Compute Engine in a child process of its own environment, in the same rounds; both indirect flags."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cpu.engine import AnyCase, Engine, Times, Unavailable
from benchmarks.cpu.ours import NetworkCase
from benchmarks.cpu.plain import layers_of

PIP = (
    "python3.11 -m venv lce; lce/bin/pip install tensorflow-cpu==2.16.2 tf-keras==2.16.0 'numpy<2' "
    "larq==0.13.3 tqdm; lce/bin/pip install --no-deps larq-compute-engine==0.16.0; "
    "--larq-python lce/bin/python"
)


class LarqChild:
    """The child process; one command at a time."""

    def __init__(self, python: Path | None) -> None:
        if python is None or not python.exists():
            raise Unavailable(f"no environment of Larq Compute Engine: {PIP}")
        script = Path(__file__).with_name("larq_child.py")
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": "the child process ended"}
        if "error" in reply:
            raise Unavailable(reply["error"])
        return reply

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def task_of(case: AnyCase) -> dict[str, Any]:
    """Return the case as the child reads it; a product of matrices is a 1x1 convolution, a pixel a row."""
    layers = [asdict(layer) for layer in layers_of(case)]
    if layers[0]["size"] is None:
        layers[0]["rows"] = 1 if isinstance(case, NetworkCase) else case.images
    return {"images": case.images, "layers": layers}


@dataclass
class _Remote:
    child: LarqChild
    name: str
    check: str = "speed only"

    def block(self, seconds: float) -> Times:
        reply = self.child.ask(do="block", name=self.name, seconds=seconds)
        return Times(reply["cpu"], reply["wall"])

    def close(self) -> None:
        self.child.ask(do="close", name=self.name)


def _load(child: LarqChild | None, indirect: bool, case: AnyCase, threads: int) -> _Remote:
    if child is None:
        raise Unavailable(f"no environment of Larq Compute Engine: {PIP}")
    if isinstance(case, NetworkCase) and case.images > 1:
        raise Unavailable("its Python interpreter takes one image")
    task = task_of(case) | {"images": 1}
    name = f"{case.name} {indirect} {threads}"
    child.ask(do="load", name=name, task=task, threads=threads, indirect=indirect)
    return _Remote(child, name)


def engines(child: LarqChild | None) -> tuple[Engine, ...]:
    return (
        Engine("Larq CE indirect", "binary", PIP, partial(_load, child, True)),
        Engine("Larq CE default", "binary", PIP, partial(_load, child, False)),
    )
