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
@pytest.mark.parametrize(
    "name", ["inside_runtime", "inside_runtime_launches", "inside_lost_context", "inside_session_arrays"]
)
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


LEFT_OPEN = """
from tests.fake_driver.driver import attached
from tests.fake_driver.runtime_networks import *
from tests.cuda_programs import inputs_of
session = open_session(attached())
network = load_small(session)
array = WithDlpack(session, inputs_of(small_program(), 2)["image"])
result = network.run_on_device({"image": array})["scores"]
array.close()
print(result.numpy().shape)
"""


@needs_both
def test_what_is_open_at_the_end_is_closed_quietly(driver_folder):
    done = run_python(["-c", LEFT_OPEN], str(driver_folder))
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "(2, 10)", "")
