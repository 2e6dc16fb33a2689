"""The CUDA runtime with PyCUDA and cuda-bindings on the fake driver, in processes of their own."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.fake_driver.test_cuda_runtime import HERE, driver_folder, run_python

__all__ = ["driver_folder"]

needs_both = pytest.mark.skipif(
    find_spec("pycuda") is None or find_spec("cuda") is None or find_spec("cuda.bindings") is None,
    reason="no PyCUDA or no cuda-bindings on this machine",
)


@needs_both
@pytest.mark.parametrize("name", ["inside_runtime", "inside_lost_context", "inside_session_arrays"])
def test_inside(driver_folder, name):
    done = run_python(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / f"{name}.py")], str(driver_folder)
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@needs_both
@pytest.mark.slow
def test_a_thousand_networks_and_sessions(driver_folder):
    inside = [str(HERE / "inside_runtime.py"), "-m", "slow"]
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", *inside], str(driver_folder))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "2 passed" in done.stdout
