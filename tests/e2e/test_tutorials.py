"""The tutorials do what they say: their files are written, their commands run, one after another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def follow(page: Path, folder: Path) -> dict[str, str]:
    """Return what each command of ``page`` printed, run in ``folder``."""
    printed = {}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    for language, name, text in BLOCK.findall(page.read_text()):
        if name:
            (folder / name).write_text(text)
            continue
        assert language == "sh", f"a block of {language} without a file name"
        for line in text.splitlines():
            program, *rest = line.split()
            command = {"bnncc": [sys.executable, "-m", "bnncc"], "python": [sys.executable]}[program]
            done = subprocess.run(
                [*command, *rest], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            printed[line] = done.stdout + done.stderr
    return printed


def found(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    assert match is not None, text
    return float(match.group(1))


def test_from_nothing_to_verified(tmp_path):
    printed = follow(TUTORIALS / "from-nothing-to-verified.md", tmp_path)
    trained = next(text for line, text in printed.items() if line.endswith("-o runs/first"))
    accuracy = found(r"test accuracy ([\d.]+)%", trained)
    assert accuracy > 94
    for line, text in printed.items():
        if line.startswith("bnncc eval"):
            assert found(r"accuracy ([\d.]+) %", text) == accuracy
        if line.startswith("bnncc verify"):
            assert "equal: ref = torch = c" in text or "equal: ref = c = torch" in text
    assert (tmp_path / "generated" / "model.c").exists()
    assert (tmp_path / "runs" / "first" / "report.html").exists()


@pytest.mark.slow
def test_binarize_a_float_classifier(tmp_path):
    printed = follow(TUTORIALS / "binarize-a-float-classifier.md", tmp_path)
    as_torch = found(r"float accuracy ([\d.]+)%", printed["python float_net.py"])
    assert found(r"accuracy ([\d.]+) %", printed["bnncc eval float.bnnpkg --data digits"]) == as_torch
    last = next(text for line, text in printed.items() if line.endswith("-o runs/stage2"))
    accuracy = found(r"test accuracy ([\d.]+)%", last)
    assert accuracy > 94
    assert found(r"accuracy ([\d.]+) %", printed["bnncc eval digits.bnnpkg --data digits"]) == accuracy
    config = json.loads((tmp_path / "runs" / "stage2" / "config.json").read_text())
    assert "runs/float" in config["identity"]["teacher"]
