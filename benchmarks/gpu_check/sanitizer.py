"""The tools of compute-sanitizer on a few kernels of every tier."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

TOOLS: Final = ("memcheck", "racecheck", "initcheck", "synccheck")
SECONDS_A_TOOL: Final = 100
_SUMMARY: Final = re.compile(r"(ERROR SUMMARY|RACECHECK SUMMARY): .*")


def run_sanitizer(_: object) -> Iterator[dict[str, Any]]:
    """Run the part ``small`` under each tool in a process of its own, all at the same time."""
    program = find_sanitizer()
    if program is None:
        yield {"tool": "compute-sanitizer", "result": "not found on PATH nor in a toolkit's bin folder"}
        return
    with ThreadPoolExecutor(len(TOOLS)) as pool:
        yield from pool.map(lambda tool: _run(program, tool), TOOLS)


def find_sanitizer() -> str | None:
    """Return the program, from PATH or a toolkit."""
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    homes += [str(folder) for folder in Path("/opt/nvidia").glob("compute-sanitizer*")]
    folders = [
        os.environ.get("PATH", ""),
        *(f"{home}/{sub}" for home in homes if home for sub in ("bin", "compute-sanitizer", "")),
    ]
    return shutil.which("compute-sanitizer", path=os.pathsep.join(folders))


def _run(program: str, tool: str) -> dict[str, Any]:
    command = [program, "--tool", tool, "--error-exitcode", "9", "--print-limit", "20", sys.executable]
    command += ["-m", "benchmarks.gpu_check", "--parts", "small", "--same-process", "--no-files"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_A_TOOL, check=False)
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        return {"tool": tool, "result": f"not finished in {SECONDS_A_TOOL} s; last: {said[-300:]}"}
    return {"tool": tool, "result": verdict(done.returncode, done.stdout + done.stderr)}


def verdict(status: int, said: str) -> str:
    """Return what a run came to, from its exit status and everything it printed."""
    summary = _SUMMARY.search(said)
    if summary is None:
        return f"not run: {said[-400:]}"
    findings = [line for line in said.splitlines() if line.startswith("=========")]
    if status == 0:
        return f"ok ({summary[0]})"
    return f"FAILED: {summary[0]}: {' '.join(findings)[:1500]}"
