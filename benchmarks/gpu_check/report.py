"""The report: rows by part, as JSON and as a page; written after every part."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.goals import goal_rows

Row = Mapping[str, Any]
Report = dict[str, Any]
"""``status``: by part, how it ended; ``parts``: by part, its rows."""


def new_report() -> Report:
    """Return a report of nothing."""
    return {"status": {}, "parts": {}}


def failures(report: Report) -> list[Row]:
    """Return the rows that say that something is wrong."""
    rows = [row for part in report["parts"].values() for row in part]
    return [row for row in rows if str(row.get("result", "")).startswith("FAILED")]


def as_markdown(report: Report) -> str:
    """Return the report as a page: what is wrong first, then the goals, then every part."""
    wrong = failures(report)
    lines = ["# gpu_check", ""]
    lines += [f"**{len(wrong)} wrong.**" if wrong else "**Everything that was compared is equal.**"]
    if wrong:
        lines += ["", *_table(wrong)]
    if advice := [row for row in report["parts"].get("descriptors", ()) if row.get("case") == "ADVICE"]:
        lines += ["", f"Descriptors: {advice[0]['result']}."]
    goals = goal_rows(report["parts"])
    lines += ["", "## Goals", "", *_table(goals)] if goals else []
    unfinished = {name: status for name, status in report["status"].items() if not status.startswith("ended")}
    lines += [f"- {name}: {status}" for name, status in unfinished.items()]
    for name, rows in report["parts"].items():
        lines += ["", f"## {name}", "", report["status"].get(name, ""), ""]
        lines += _table(_summarised(rows)) if rows else ["No rows."]
    return "\n".join([*lines, ""])


def _summarised(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows; of comparisons that are all right, one a case and form."""
    if not all("case" in row and "images" in row for row in rows):
        return rows
    kept: list[Row] = [row for row in rows if row["result"] != "ok"]
    good: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["result"] == "ok":
            key = (str(row["case"]), str(row.get("kernels", "")))
            good[key] = good.get(key, 0) + 1
    kept += [
        {"case": case, "kernels": kernels, "result": f"ok, {count} times"}
        for (case, kernels), count in good.items()
    ]
    return kept


def _table(rows: Sequence[Row]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (str(row.get(column, "")).replace("\n", " ").replace("|", "/")[:600] for column in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_report(report: Report, folder: Path, name: str) -> None:
    """Write ``<name>.json`` and ``<name>.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**report, "goals": goal_rows(report["parts"])}
    write_atomically(folder / f"{name}.json", json.dumps(whole, indent=1, default=str) + "\n")
    write_atomically(folder / f"{name}.md", as_markdown(report))


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)  # noqa: PTH105 - the same call everywhere
