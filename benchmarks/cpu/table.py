"""The report: JSON with every block, a Markdown table, a plot.

``python -m benchmarks.cpu.table PATH`` writes Markdown and plot again from the JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.cpu.goals import OURS, Outcome, outcomes, two_thread_gain
from benchmarks.cpu.rounds import Row

COLOURS = {"ours": "#1b6ca8", "binary": "#7aa95c", "int8": "#d98e04", "fp32": "#999999"}
ONE_THREAD = """CPU time of the process; median over blocks of the best call of each,
lowest and highest block in brackets. Peak: multiply-adds a second by what xor, popcount and addition
in registers reach in the same rounds."""


@dataclass(frozen=True)
class Memory:
    """Peak resident set of a child process in MiB: before the engine is imported, and after it has run."""

    case: str
    engine: str
    before_mib: float | None
    after_mib: float | None
    missing: str = ""


@dataclass
class Report:
    """All that a run found."""

    machine: str
    cpus: int
    date: str
    compiler: str
    packages: dict[str, str]
    loads: list[float]
    limits: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)


def write_report(report: Report, path: Path) -> None:
    """Write ``path`` with .json, .md and, where matplotlib is installed, .png."""
    goals = outcomes(report.rows)
    document = asdict(report) | {"goals": [asdict(goal) | {"verdict": goal.verdict} for goal in goals]}
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    notes = path.with_suffix(".notes.md")  # written by hand: what is known of the gaps
    text = as_markdown(report, goals, path.with_suffix(".png").name)
    text += f"\n{notes.read_text(encoding='utf-8')}" if notes.is_file() else ""
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    plot(report.rows, path.with_suffix(".png"))
    print("\n".join(goal_lines(goals)))


def as_markdown(report: Report, goals: Sequence[Outcome], picture: str) -> str:
    """Return the report as text."""
    packages = ", ".join(f"{name} {number}" for name, number in report.packages.items())
    limits = ", ".join(f"{name} {limit / 1e9:,.0f} G/s" for name, limit in report.limits.items())
    loads = f"{min(report.loads):.1f} to {max(report.loads):.1f}"
    lines = [
        "# The CPU beside other engines",
        "",
        "`python -m benchmarks.cpu`; what is compared, and how: [benchmarks/cpu](../cpu/README.md).",
        "",
        f"{report.machine}; {report.cpus} CPUs; {report.date}; {report.compiler}; {packages}. Load {loads}.",
        f"Limits of one thread (read: bytes of a stream of 4.6 MB): {limits}.",
        "",
        f"![times ours]({picture})",
        "",
        *goal_lines(goals),
        "",
        "## One thread",
        "",
        ONE_THREAD,
        "",
        *one_thread_lines(report.rows),
        "",
        "## Two threads",
        "",
        "On the wall, best call; gain: over the best call of one thread.",
        "",
        *two_thread_lines(report.rows),
        "",
        "## Memory",
        "",
        "Peak resident set of a child process that loads the engine and the model, and runs it.",
        "",
        *memory_lines(report.memory),
    ]
    return "\n".join(lines) + "\n"


def goal_lines(goals: Sequence[Outcome]) -> list[str]:
    """Return the table of goals."""
    lines = ["| goal | wanted | reached | against | |", "|---|---|---|---|---|"]
    for goal in goals:
        reached = "" if goal.reached is None else f"{goal.reached:.2f}"
        lines.append(f"| {goal.text} | {goal.wanted:g} | {reached} | {goal.against} | {goal.verdict} |")
    return lines


def one_thread_lines(rows: Sequence[Row]) -> list[str]:
    """Return the table of one thread, fastest first within a case; engines that did not run come last."""
    lines = ["| case | engine | us | times ours | peak | results |", "|---|---|---|---|---|---|"]
    single = [row for row in rows if row.threads == 1]
    for case in dict.fromkeys(row.case for row in single):
        own = [row for row in single if row.case == case and row.cpu_s]
        ours = next((row.seconds for row in own if row.engine == OURS), None)
        for row in sorted(own, key=lambda row: row.seconds):
            spread = f"[{1e6 * min(row.times):,.0f}-{1e6 * max(row.times):,.0f}]"
            ratio = "" if ours is None else f"{row.seconds / ours:.2f}"
            cells = (
                case,
                row.engine,
                f"{1e6 * row.seconds:,.1f} {spread}",
                ratio,
                f"{100 * row.fraction:.1f} %",
            )
            lines.append(f"| {' | '.join(cells)} | {row.check or row.missing} |")
        absent = [row for row in single if row.case == case and row.missing]
        lines += [f"| {case} | {row.engine} | | | | not run: {row.missing} |" for row in absent]
    return lines


def two_thread_lines(rows: Sequence[Row]) -> list[str]:
    """Return the table of two threads."""
    lines = ["| case | engine | us | gain | peak of two |", "|---|---|---|---|---|"]
    for row in rows:
        if row.threads == 2:
            gain = two_thread_gain(rows, row.case, row.engine)
            shown = "" if gain is None else f"{gain:.2f}"
            cells = (row.case, row.engine, f"{1e6 * row.seconds:,.1f}", shown, f"{100 * row.fraction:.1f} %")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def memory_lines(memory: Sequence[Memory]) -> list[str]:
    """Return the table of memory."""
    lines = ["| network | engine | peak, MiB | before its import, MiB |", "|---|---|---|---|"]
    for item in memory:
        if item.after_mib is None:
            lines.append(f"| {item.case} | {item.engine} | not run: {item.missing} | |")
        else:
            lines.append(f"| {item.case} | {item.engine} | {item.after_mib:,.0f} | {item.before_mib:,.0f} |")
    return lines


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw how many times our time each engine takes, a panel a case."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: pip install matplotlib")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    measured = [row for row in rows if row.threads == 1 and row.cpu_s]
    cases = list(dict.fromkeys(row.case for row in measured))
    columns = 3
    height = -(-len(cases) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(15, 3.1 * height), squeeze=False)
    for panel, case in zip(axes.flat, cases, strict=False):
        own = sorted((row for row in measured if row.case == case), key=lambda row: -row.seconds)
        ours = next(row.seconds for row in own if row.engine == OURS)
        ratios = [row.seconds / ours for row in own]
        panel.barh([row.engine for row in own], ratios, color=[COLOURS[row.kind] for row in own])
        for at, ratio in enumerate(ratios):
            panel.text(ratio * 1.05, at, f"{ratio:.1f}", va="center", fontsize=7)
        panel.set_xscale("log")
        panel.set_xlim(0.8, 2.2 * max(ratios))
        panel.set_title(case, fontsize=9)
        panel.tick_params(labelsize=7)
    for panel in list(axes.flat)[len(cases) :]:
        panel.axis("off")
    figure.suptitle("time of a call, in times that of the generated C; one thread")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def read_report(path: Path) -> Report:
    """Return what `write_report` wrote at ``path``."""
    document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    del document["goals"]
    rows = [Row(**row) for row in document.pop("rows")]
    memory = [Memory(**item) for item in document.pop("memory")]
    return Report(**document, rows=rows, memory=memory)


if __name__ == "__main__":
    write_report(read_report(Path(sys.argv[1])), Path(sys.argv[1]))
