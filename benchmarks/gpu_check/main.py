"""Arguments, and the order of things."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.parts import PARTS
from benchmarks.gpu_check.report import Report, as_markdown, failures, new_report, write_report
from benchmarks.gpu_check.run import run_apart, run_here
from bnncc.diagnostics import PlatformError
from bnncc.runtime.cuda import CudaDevice, list_devices
from bnncc.toolchain.find_cuda import find_cuda_compiler

RESULTS: Final = Path(__file__).parents[1] / "results"
SECONDS: Final = 530
EXIT_GOOD, EXIT_DIFFERENT, EXIT_PLATFORM = 0, 3, 4


def main(arguments: Sequence[str]) -> int:
    """Return the exit code: 0 all equal, 3 a kernel is wrong, 4 something is missing on this machine."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.expect:
        return write_expected(options.out / "executor")
    names = options.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        compiler, device = find_cuda_compiler(), _device(options.device)
    except PlatformError as error:
        print(f"gpu_check needs a GPU, PyCUDA and a CUDA compiler: {error}", file=sys.stderr)
        return EXIT_PLATFORM
    report = new_report()
    stem = options.name or report_name(device.name)

    def note(name: str) -> None:
        print(f"gpu_check: {name}: {report['status'][name]}", file=sys.stderr, flush=True)
        if not options.no_files:
            write_report(report, options.out, stem)

    if options.same_process:
        machine = Machine(options.device, compiler)
        for name in names:
            report["status"][name], report["parts"][name] = run_here(name, machine, options.rows)
            note(name)
    else:
        run_apart(names, options.device, time.monotonic() + options.seconds, report, note)
        draw(report, options.out, stem, is_wanted=not options.no_files)
    print(as_markdown(report))
    return EXIT_DIFFERENT if failures(report) else EXIT_GOOD


def _device(index: int) -> CudaDevice:
    devices = list_devices()
    if index >= len(devices):
        raise PlatformError(f"there is no device {index}; the driver counts {len(devices)}")
    return devices[index]


def draw(report: Report, folder: Path, stem: str, *, is_wanted: bool) -> None:
    """Draw the plots, where there is something to draw and matplotlib to do it."""
    if is_wanted:
        from benchmarks.gpu_check.plots import draw_plots

        print(f"gpu_check: plots: {draw_plots(report, folder, stem)}", file=sys.stderr)


def report_name(device: str) -> str:
    """Return the name of the files: ``gpu_<device>_<date>``."""
    return f"gpu_{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}_{time.strftime('%Y%m%d')}"


def write_expected(folder: Path) -> int:
    """Return the exit code, after writing inputs and the emulator's outputs."""
    from benchmarks.gpu_check.executor import write_expectations

    try:
        count = write_expectations(find_cuda_compiler("nvrtc"), folder)
    except PlatformError as error:
        print(f"gpu_check needs a CUDA compiler and a C++ compiler for this: {error}", file=sys.stderr)
        return EXIT_PLATFORM
    print(f"{count} cases in {folder}")
    return EXIT_GOOD


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:16} {part.about}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description="Compare and time the generated kernels on the GPU of this machine.",
        epilog=f"parts:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = ",".join(name for name, part in PARTS.items() if part.is_default)
    parser.add_argument(
        "--parts", default=default, help="names with commas between; all but 'small' if not given"
    )
    parser.add_argument("--device", type=int, default=0, help="as the driver counts")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="for everything; what is later is cut off"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--name", default="", help="of the report's files; gpu_<device>_<date> if not given")
    parser.add_argument("--no-files", action="store_true", help="print only")
    parser.add_argument("--same-process", action="store_true", help="no process for each part: for debuggers")
    parser.add_argument("--rows", type=Path, help="with --same-process: a file for the rows as they come")
    parser.add_argument("--expect", action="store_true", help="write what 'executor' expects; needs no GPU")
    return parser
