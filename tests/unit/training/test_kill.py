"""A run that is killed, at any moment and without warning, goes on to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KEEPER = Path(__file__).with_name("killed_run.py")


def killed_run(folder, kills, seed):
    """Return what `killed_run.py` says; one process imports torch, its children train and are killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(KEEPER), str(folder), str(kills), str(seed)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, kills):
    pytest.importorskip("sklearn")
    found = killed_run(tmp_path, kills, seed=kills)
    assert found["killed"] >= min(kills, 3)
    # Some of the kills came when there was something to lose.
    assert max(found["epochs_when_killed"]) >= 1
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    histories = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("straight", "killed")
    ]
    for straight, killed in zip(*histories, strict=True):
        assert {**straight, "seconds": 0} == {**killed, "seconds": 0}
