"""The CUDA runtime: on a fake driver with real PyCUDA, and what it says where something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.gpu_check.device import architecture_for
from bnncc.diagnostics import PlatformError
from bnncc.runtime.cuda import choose_image
from bnncc.toolchain.cuda_compiler import DeviceImage
from tests.fake_driver import build

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def driver_folder():
    return build.driver_folder()


def run_python(arguments, library_path="", **environment):
    inherited = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": library_path, **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.skipif(find_spec("pycuda") is None, reason="no PyCUDA on this machine")
@pytest.mark.parametrize("tests", ["inside_fake_driver.py", "inside_gpu_check.py"])
def test_on_the_fake_driver(driver_folder, tests):
    inside = str(HERE / tests)
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", inside], str(driver_folder))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


SAY = """
from bnncc.runtime.cuda import list_devices
try:
    list_devices()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(find_spec("pycuda") is None, reason="no PyCUDA on this machine")
def test_without_a_driver(tmp_path):
    (tmp_path / "libcuda.so.1").write_text("not a library")
    done = run_python(["-c", SAY], str(tmp_path))
    assert done.stdout.startswith("PlatformError PyCUDA cannot reach the NVIDIA driver"), done.stderr
    assert "libcuda.so.1" in done.stdout


def test_without_pycuda():
    hide = "import sys\nsys.modules['pycuda'] = None\n"
    done = run_python(["-c", hide + SAY])
    assert done.stdout.startswith("PlatformError running on a GPU needs PyCUDA"), done.stderr
    assert "pip install 'bnncc[cuda]'" in done.stdout


def image(kind, arch):
    return DeviceImage(arch=arch, kind=kind, data=b"")


IMAGES = [
    image(kind, arch) for arch in ("sm_75", "sm_80", "sm_86", "sm_90a", "sm_120") for kind in ("ptx", "cubin")
]


@pytest.mark.parametrize(
    ("capability", "kind", "arch"),
    [
        ((7, 5), "cubin", "sm_75"),
        ((8, 0), "cubin", "sm_80"),
        ((8, 7), "cubin", "sm_86"),
        ((8, 9), "cubin", "sm_86"),
        ((9, 0), "cubin", "sm_90a"),
        ((10, 0), "ptx", "sm_86"),
        ((12, 1), "cubin", "sm_120"),
    ],
)
def test_the_best_image_is_chosen(capability, kind, arch):
    chosen = choose_image(IMAGES, capability)
    assert (chosen.kind, chosen.arch) == (kind, arch)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 5), ("sm_75", True)),
        ((8, 7), ("sm_86", True)),
        ((9, 0), ("sm_90a", True)),
        ((10, 3), ("sm_89", False)),
        ((12, 1), ("sm_120", True)),
        ((13, 0), ("sm_120", False)),
    ],
)
def test_what_gpu_check_compiles_for(capability, expected):
    assert architecture_for(capability) == expected


def test_no_image_fits():
    with pytest.raises(PlatformError, match=r"7.0.*--arch sm_70"):
        choose_image(IMAGES, (7, 0))
    with pytest.raises(PlatformError, match="is nothing"):
        choose_image([], (9, 0))
