"""What a reader must know about the machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu_check.device import Machine

PACKAGES: Final = (
    "bnncc",
    "pycuda",
    "cuda-bindings",
    "torch",
    "triton",
    "numpy",
    "nvidia-cuda-nvrtc",
    "nvidia-cutlass",
)
QUERIES: Final = (
    "name",
    "driver_version",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "power.draw",
    "power.limit",
    "temperature.gpu",
    "utilization.gpu",
    "ecc.mode.current",
)
REPOSITORY: Final = Path(__file__).parents[2]


def describe(machine: Machine) -> Iterator[dict[str, Any]]:
    """Return facts, one a row."""
    with machine.bench() as bench:
        device = bench.session.device
    facts: dict[str, object] = {
        "device": device.name,
        "capability": f"{device.capability[0]}.{device.capability[1]}",
        "multiprocessors": device.multiprocessors,
        "memory_mib": device.memory_bytes >> 20,
        "l2_mib": machine.driver.attribute(38) / 2**20,
        "driver": device.driver_version,
        "compiler": machine.compiler.identity.splitlines()[0].split(" /")[0],
        "arch": machine.arch,
        "commit": _said(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        **{package: _version(package) for package in PACKAGES},
        **clocks(),
    }
    for name, value in facts.items():
        yield {"what": name, "value": value}


def clocks() -> dict[str, str]:
    """Return what nvidia-smi says of clocks and power now; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return {}
    said = _said(["nvidia-smi", f"--query-gpu={','.join(QUERIES)}", "--format=csv,noheader"])
    values = [value.strip() for value in said.splitlines()[0].split(",")] if said else []
    return (
        dict(zip(QUERIES, values, strict=True)) if len(values) == len(QUERIES) else {"nvidia-smi": said[:200]}
    )


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
