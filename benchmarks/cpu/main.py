"""Arguments, the order of the measurements, the report."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.cpu.engine import AnyCase, Engine, Unavailable
from benchmarks.cpu.goals import OURS
from benchmarks.cpu.memory import memory_kib
from benchmarks.cpu.ours import CASES, Case, NetworkCase, Subject
from benchmarks.cpu.peaks import measures, processor
from benchmarks.cpu.peers import faiss_peer, larq_engine, litert, numkong, onnxruntime, openvino, torch_peer
from benchmarks.cpu.peers.larq_engine import LarqChild
from benchmarks.cpu.plain import macs_of
from benchmarks.cpu.rounds import Plan, Row, compare, load_all, measure, our_call, release
from benchmarks.cpu.table import Memory, Report, write_report
from bnncc.runtime.native import machine_named
from bnncc.targets.c.target import CTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import find_c_compiler

RESULTS = Path(__file__).parents[1] / "results"
NAMES = (
    *(f"{network} b{images}" for network in ("ConvNet", "MLP") for images in (1, 16, 100)),
    *("conv 256->256 @14", "conv 64->64 @56", "conv 128->128 @28"),
    *("dense 4096->4096 b16", "GEMM 2048^3", "GEMM 4096^3"),
)
SLOW_NAMES = ("GEMM 8192^3",)
PACKAGES = ("openvino", "onnxruntime", "torch", "ai-edge-litert", "numkong", "faiss-cpu", "numpy")


def main(arguments: list[str]) -> int:
    """Return the exit code: 0, or 3 where results differ."""
    options = _options(arguments)
    folder = options.models or Path(tempfile.mkdtemp(prefix="bnncc-peers-"))
    folder.mkdir(exist_ok=True)
    names = (*NAMES, *SLOW_NAMES) if options.slow else NAMES
    cases = [case for case in CASES if case.name in names and options.only in case.name]
    compiler, cache = find_c_compiler(), BuildCache.default()
    machine = machine_named("native", compiler)
    peaks = measures(machine, compiler, cache)
    report = Report(
        machine=processor(),
        cpus=os.cpu_count() or 1,
        date=time.strftime("%Y-%m-%d %H:%M"),
        compiler=compiler.version,
        packages=_versions(),
        loads=[os.getloadavg()[0]],
    )
    target = CTarget.for_machine(machine)
    ours = Engine(
        OURS, "ours", "", lambda case, threads: our_call(Subject(case, target, compiler, cache), threads)
    )
    child = LarqChild(options.larq_python) if options.larq_python else None
    peers = [engine for engine in peers_of(child, folder) if options.engine in engine.name]
    engines = (ours, *peers)
    plan = Plan(options.rounds, options.block_s, options.longest_s)
    for case in cases:
        report.rows += one_thread(case, engines, peaks, plan)
        report.loads.append(os.getloadavg()[0])
    report.limits = {name: limit() for name, limit in peaks.items()}
    write_report(report, options.out)
    if options.two_threads:
        together = Plan(options.rounds, 4 * options.block_s, options.longest_s)
        for case in cases:
            two_threads(case, engines, peaks, together, report.rows)
    if child is not None:
        child.close()
    if options.memory:
        report.memory = memory_of(engines, folder, options.larq_python)
    write_report(report, options.out)
    return 3 if any(row.check == "DIFFERENT" for row in report.rows) else 0


def peers_of(child: LarqChild | None, folder: Path) -> tuple[Engine, ...]:
    """Return all peers; models are written into ``folder``."""
    found = (*openvino.engines(folder), *onnxruntime.engines(folder), *torch_peer.engines())
    return (
        *found,
        *litert.engines(child, folder),
        *numkong.engines(),
        *faiss_peer.engines(),
        *larq_engine.engines(child),
    )


def one_thread(
    case: AnyCase, engines: Sequence[Engine], peaks: dict[str, Callable[[], float]], plan: Plan
) -> list[Row]:
    """Return the rows of a case on one thread: compared, then timed."""
    loaded = load_all(case, engines, 1, macs_of(case))
    for _, runner in loaded:
        if runner is not None:
            runner.block(0)  # two calls: caches, lazy compilation
    if isinstance(case, Case):
        compare(case, loaded)
    measure(loaded, peaks, plan)
    release(loaded)
    rows = [row for row, _ in loaded]
    for row in rows:
        print(f"{case.name:22} {row.engine:26}", _line(row), flush=True)
    return rows


def _line(row: Row) -> str:
    if not row.cpu_s:
        return row.missing
    return f"{1e6 * row.seconds:12,.1f} us  {100 * row.fraction:5.1f} %  {row.check}"


def two_threads(
    case: AnyCase,
    engines: Sequence[Engine],
    peaks: dict[str, Callable[[], float]],
    plan: Plan,
    rows: list[Row],
) -> None:
    """Add the rows of a case on two threads; ours runs on one in turn with them, on the wall."""
    loaded = load_all(case, engines, 2, macs_of(case))
    alone = load_all(case, engines[:1], 1, macs_of(case))
    measure([*alone, *loaded], peaks, plan)
    release([*alone, *loaded])
    for row in rows:
        if (row.case, row.engine, row.threads) == (case.name, OURS, 1):
            row.wall_s += alone[0][0].wall_s
    for row, _ in loaded:
        print(f"{case.name:22} {row.engine:26} two threads", _line(row), flush=True)
    rows += [row for row, _ in loaded if row.wall_s]


def memory_of(engines: Sequence[Engine], folder: Path, larq_python: Path | None) -> list[Memory]:
    """Return the peak resident set of each engine with each network of one image."""
    found = []
    for case in CASES:
        if not isinstance(case, NetworkCase) or case.images > 1:
            continue
        for engine in engines:
            if engine.kind == "binary" and "Larq" not in engine.name:
                continue  # takes matrices only
            try:
                before, after = memory_kib(engine.name, case, folder, larq_python)
            except Unavailable as error:
                found.append(Memory(case.name, engine.name, None, None, str(error)))
            else:
                found.append(Memory(case.name, engine.name, before / 1024, after / 1024))
            print("memory", found[-1], flush=True)
    return found


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    parser.add_argument("--only", default="", help="part of the name of the cases to run")
    parser.add_argument("--engine", default="", help="part of the name of the peers to run")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block-s", type=float, default=0.02, help="seconds of a block of calls")
    parser.add_argument(
        "--longest-s", type=float, default=25, help="seconds for a case; three rounds at least"
    )
    parser.add_argument("--slow", action="store_true", help=f"also {', '.join(SLOW_NAMES)}")
    parser.add_argument("--two-threads", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--larq-python", type=Path, help=larq_engine.PIP)
    parser.add_argument("--models", type=Path, help="folder of the peers' models, kept; else a temporary one")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "cpu_peers", help="path of the report, no suffix"
    )
    return parser.parse_args(arguments)
