"""Parts in processes of their own: a fault of a kernel, or too much time, costs no other part anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.parts import PARTS
from benchmarks.gpu_check.report import Report, write_atomically

ROOT: Final = Path(__file__).parents[2]
WRITE_EVERY_S: Final = 0.5
LAST_WORDS: Final = 1500

Note = Callable[[str], None]


def run_here(name: str, machine: Machine, rows_file: Path | None = None) -> tuple[str, list[dict[str, Any]]]:
    """Return how a part ended, and its rows; they are written to ``rows_file`` as they come."""
    rows: list[dict[str, Any]] = []
    start = last = time.monotonic()
    status = ""
    try:
        for row in PARTS[name].rows(machine):
            rows.append(dict(row))
            if rows_file is not None and time.monotonic() - last > WRITE_EVERY_S:
                last = time.monotonic()
                write_atomically(rows_file, json.dumps({"status": "", "rows": rows}, default=str))
    except Exception as error:  # noqa: BLE001 - what goes wrong in a part belongs into the report
        rows.append({"result": f"FAILED: {error}", "traceback": traceback.format_exc()[-2000:]})
        status = f"FAILED after {time.monotonic() - start:.1f} s"
    status = status or f"ended after {time.monotonic() - start:.1f} s"
    if rows_file is not None:
        write_atomically(rows_file, json.dumps({"status": status, "rows": rows}, default=str))
    return status, rows


@dataclass(slots=True)
class Child:
    """A part that runs in a process of its own."""

    name: str
    process: subprocess.Popen[str]
    rows_file: Path
    log_file: Path
    end: float

    def is_over(self) -> bool:
        """Return whether it has ended; what takes too long is ended now."""
        if self.process.poll() is not None:
            return True
        if time.monotonic() < self.end:
            return False
        os.killpg(self.process.pid, signal.SIGKILL)  # its own group: sanitizers and compilers end, too
        self.process.wait()
        return True

    def result(self) -> tuple[str, list[dict[str, Any]]]:
        """Return how it ended, and its rows."""
        try:
            kept = json.loads(self.rows_file.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            kept = {"status": "", "rows": []}
        if kept["status"]:
            return kept["status"], kept["rows"]
        said = self.log_file.read_text(encoding="utf-8", errors="replace")[-LAST_WORDS:]
        if self.process.returncode == -signal.SIGKILL and time.monotonic() >= self.end:
            return "cut off: its time was over; what follows is what it had", kept["rows"]
        row = {"result": f"FAILED: the process ended with status {self.process.returncode}: {said}"}
        return "FAILED", [*kept["rows"], row]


def run_apart(names: Sequence[str], device: int, deadline: float, report: Report, note: Note) -> None:
    """Run parts and note each in ``report``: those that time nothing at once, then the others in turn."""
    checks = [name for name in names if not PARTS[name].is_timing]
    stages = [checks, *([name] for name in names if PARTS[name].is_timing)]
    for name in names:
        report["parts"][name] = []
    with tempfile.TemporaryDirectory(prefix="gpu_check-") as folder:
        for stage in stages:
            with _children(stage, device, deadline, Path(folder)) as waiting:
                while waiting:
                    over = [child for child in waiting if child.is_over()]
                    for child in over:
                        waiting.remove(child)
                        report["status"][child.name], report["parts"][child.name] = child.result()
                        note(child.name)
                    time.sleep(0 if over else 0.1)


@contextmanager
def _children(names: Sequence[str], device: int, deadline: float, folder: Path) -> Iterator[list[Child]]:
    children = [_started(name, device, deadline, folder) for name in names]
    try:
        yield list(children)
    finally:
        for child in children:
            child.end = 0.0
            child.is_over()


def _started(name: str, device: int, deadline: float, folder: Path) -> Child:
    rows_file, log_file = folder / f"{name}.json", folder / f"{name}.log"
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--parts", name, "--same-process", "--no-files"]
    command += ["--device", str(device), "--rows", str(rows_file)]
    with log_file.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    end = min(time.monotonic() + PARTS[name].seconds, deadline)
    return Child(name=name, process=process, rows_file=rows_file, log_file=log_file, end=end)
