"""Tuning on a GPU, without one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fake_driver.test_cuda_runtime import driver_folder, run_python

__all__ = ["driver_folder"]


@pytest.mark.skipif(find_spec("pycuda") is None, reason="no PyCUDA on this machine")
def test_tuning_on_the_fake_driver(driver_folder: Path) -> None:
    inside = str(Path(__file__).parent / "inside_tuning.py")
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", inside], str(driver_folder))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
