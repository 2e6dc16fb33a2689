"""Arguments, the order of the parts, the report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.device import Bench, architecture_for
from benchmarks.gpu_check.executor import write_expectations
from benchmarks.gpu_check.parts import PARTS
from bnncc.diagnostics import PlatformError
from bnncc.runtime.cuda import CudaSession
from bnncc.toolchain.find_cuda import find_cuda_compiler

RESULTS = Path(__file__).parents[1] / "results"
DEFAULT_PARTS = ("layers", "networks", "rates", "timing", "sanitizer")
EXIT_GOOD, EXIT_DIFFERENT, EXIT_PLATFORM = 0, 3, 4


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 all equal, 3 a kernel is wrong, 4 something is missing on this machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--parts", default=",".join(DEFAULT_PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--device", type=int, default=0, help="as the driver counts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--no-files", action="store_true", help="print only")
    parser.add_argument("--expect", action="store_true", help="write what 'executor' expects; needs no GPU")
    options = parser.parse_args(arguments)
    if options.expect:
        return write_expected(options.out / "executor")
    names = options.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        report = run_parts(names, options.device)
    except PlatformError as error:
        print(f"gpu_check needs a GPU, PyCUDA and a CUDA compiler: {error}", file=sys.stderr)
        return EXIT_PLATFORM
    print(as_markdown(report))
    if not options.no_files:
        write_report(report, options.out)
    return EXIT_DIFFERENT if failures(report) else EXIT_GOOD


def write_expected(folder: Path) -> int:
    """Return the exit code, after writing inputs and the emulator's outputs."""
    try:
        count = write_expectations(find_cuda_compiler("nvrtc"), folder)
    except PlatformError as error:
        print(f"gpu_check needs a CUDA compiler and a C++ compiler for this: {error}", file=sys.stderr)
        return EXIT_PLATFORM
    print(f"{count} cases in {folder}")
    return EXIT_GOOD


def run_parts(names: list[str], device_index: int) -> dict[str, Any]:
    """Return the report of the parts called ``names``."""
    compiler = find_cuda_compiler()
    with CudaSession(device_index) as session:
        bench = Bench(session=session, compiler=compiler, arch=architecture_for(session.device.capability)[0])
        report: dict[str, Any] = {"environment": bench.environment(), "parts": {}}
        for name in names:
            print(f"gpu_check: {name} ...", file=sys.stderr, flush=True)
            report["parts"][name] = PARTS[name](bench)
    return report


def failures(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that say that something is wrong."""
    rows = [row for part in report["parts"].values() for row in part]
    return [row for row in rows if str(row.get("result", "")).startswith("FAILED")]


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    lines = ["# gpu_check", ""]
    lines += [f"- {key}: {value}" for key, value in report["environment"].items()]
    for name, rows in report["parts"].items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines += ["", f"## {name}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for row in rows:
            cells = (str(row.get(column, "")).replace("\n", " ").replace("|", "/") for column in columns)
            lines.append("| " + " | ".join(cells) + " |")
    wrong = failures(report)
    lines += ["", f"**{len(wrong)} wrong.**" if wrong else "**Everything that was compared is equal.**", ""]
    return "\n".join(lines)


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write ``gpu_check.json`` and ``gpu_check.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("json", json.dumps(report, indent=1) + "\n"), ("md", as_markdown(report))):
        path = folder / f"gpu_check.{name}"
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)  # noqa: PTH105 - the same call everywhere
