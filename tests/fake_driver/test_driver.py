"""The fake driver itself: `cuda-bindings`, unmodified, on it; streams, graphs, errors, devices, leaks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fake_driver import build
from tests.fake_driver.images import Image, digest

HERE, ROOT = build.HERE, build.ROOT
INSIDE = sorted(path.name for path in HERE.glob("bindings_*.py"))
needs_bindings = pytest.mark.skipif(
    find_spec("cuda") is None or find_spec("cuda.bindings") is None, reason="no cuda-bindings on this machine"
)


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FAKE_CUDA")}
    paths = {"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(build.driver_folder())}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**inherited, **paths, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@needs_bindings
@pytest.mark.parametrize("name", INSIDE)
def test_bindings(name: str) -> None:
    done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / name))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


SCRIPT = "from tests.fake_driver.script import *\n"


def said(code: str, **environment: str) -> str:
    done = run_python("-c", SCRIPT + code, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@needs_bindings
def test_the_first_allocations_succeed_and_the_third_fails() -> None:
    code = "say(d.cuMemAlloc(64), d.cuMemAlloc(64), d.cuMemAlloc(64), d.cuMemAlloc(64))"
    assert said(OPEN + code, FAKE_CUDA_FAIL="cuMemAlloc@3=OUT_OF_MEMORY") == "0 0 2 0"


OPEN = "say_open()\n"


@needs_bindings
@pytest.mark.parametrize(
    ("plan", "code", "expected"),
    [
        ("cuInit=NO_DEVICE", "say(d.cuInit(0))", "100"),
        ("cuInit=CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "say(d.cuInit(0))", "803"),
        ("cuModuleLoadData=209", OPEN + "say(d.cuModuleLoadData(PTX))", "209"),
        ("cuModuleLoadData=INVALID_PTX", OPEN + "say(d.cuModuleLoadData(PTX))", "218"),
        # What kills the context comes when somebody waits, and stays.
        (
            "kernel@1=LAUNCH_TIMEOUT",
            OPEN + "say(launch(), d.cuCtxSynchronize(), d.cuMemAlloc(64))",
            "0 702 702",
        ),
        (
            "kernel@2=700",
            OPEN + "say(launch(), launch(), d.cuCtxSynchronize(), d.cuMemAlloc(8))",
            "0 0 700 700",
        ),
        (
            "cuCtxSynchronize=ECC_UNCORRECTABLE",
            OPEN + "say(d.cuCtxSynchronize(), d.cuMemAlloc(8), d.cuDevicePrimaryCtxReset(0)); "
            "say_open(); say(d.cuMemAlloc(8))",
            "214 214 0\n0",
        ),
    ],
)
def test_planned_errors(plan: str, code: str, expected: str) -> None:
    assert said(code, FAKE_CUDA_FAIL=plan) == expected


@needs_bindings
def test_an_old_driver_refuses_new_ptx() -> None:
    code = OPEN + "print(d.cuDriverGetVersion()[1]); say(d.cuModuleLoadData(PTX))"
    assert said(code, FAKE_CUDA_DRIVER_VERSION="12080") == "12080\n222"


@needs_bindings
def test_eager_mode_runs_at_once() -> None:
    code = OPEN + "h = pinned(4); b = ok(d.cuMemAlloc(4)); s = ok(d.cuStreamCreate(1))\n"
    code += "d.cuMemsetD32Async(b, 7, 1, s); d.cuMemcpyDtoHAsync(h.ctypes.data, b, 4, s)\n"
    code += "print(h.view('u4')[0])"
    assert said(code) == "0"
    assert said(code, FAKE_CUDA_EAGER="1") == "7"


@needs_bindings
def test_what_was_forgotten_is_reported(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code = OPEN + "d.cuMemAlloc(64); d.cuMemAlloc(64); d.cuStreamCreate(0); d.cuEventCreate(0); module()"
    said(code, FAKE_CUDA_REPORT=str(report))
    found = {kind: count for kind, count in json.loads(report.read_text()).items() if count}
    assert found == {"allocations": 2, "contexts": 1, "events": 1, "modules": 1, "streams": 1}
    said(code + "; d.cuDevicePrimaryCtxRelease(0)", FAKE_CUDA_REPORT=str(report))
    found = {kind: count for kind, count in json.loads(report.read_text()).items() if count}
    assert found == {"allocations": 2, "events": 1, "modules": 1, "streams": 1}
    clean = "b = ok(d.cuMemAlloc(64)); m = module(); d.cuMemFree(b); d.cuModuleUnload(m)\n"
    clean += "d.cuDevicePrimaryCtxRelease(0)"
    said(OPEN + clean, FAKE_CUDA_REPORT=str(report))
    assert not any(json.loads(report.read_text()).values())


@needs_bindings
def test_a_thread_has_a_default_stream_of_its_own_where_it_asked_for_one() -> None:
    code = OPEN + "b = ok(d.cuMemAlloc(4)); s = ok(d.cuStreamCreate(0)); h = pinned(4)\n"
    code += "d.cuMemsetD32Async(b, 7, 1, s); d.cuMemcpyDtoHAsync(h.ctypes.data, b, 4, 0)\n"
    code += "d.cuStreamSynchronize(0); print(h.view('u4')[0] == 7)"
    assert said(code) == "True"
    assert said(code, CUDA_PYTHON_CUDA_PER_THREAD_DEFAULT_STREAM="1") == "False"


def test_a_process_without_the_emulator_has_no_device(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    source = tmp_path / "host.c"
    source.write_text("int cuInit(unsigned); int main(void) { return cuInit(0); }")
    folder = build.driver_folder()
    command = ["cc", str(source), "-o", str(tmp_path / "host"), str(folder / "libcuda.so.1")]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run(
        [str(tmp_path / "host")], env={"LD_LIBRARY_PATH": str(folder)}, capture_output=True, check=False
    )
    assert done.returncode == 100
    assert b"no Python" in done.stderr


def test_the_signatures_are_those_of_the_toolkit() -> None:
    from bnncc.toolchain.cuda_compiler import toolkit_roots
    from bnncc.toolchain.host_compiler import find_cxx_compiler

    headers = next(
        (r / "include" for r in toolkit_roots(os.environ) if (r / "include" / "cuda.h").is_file()), None
    )
    if headers is None:
        pytest.skip("no cuda.h on this machine")
    if b"CUDA_VERSION 13" not in (headers / "cuda.h").read_bytes():
        pytest.skip("a cuda.h of another generation")
    flags = [
        "-std=c++17",
        "-fsyntax-only",
        "-DFAKE_CUDA_AGAINST_CUDA_H",
        '-DFAKE_CUDA_HOME=""',
        f"-I{headers}",
    ]
    units = [str(path) for path in sorted(build.SOURCES.glob("*.cpp"))]
    done = subprocess.run(
        [*find_cxx_compiler().command, *flags, *units], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def doctor(**environment: str) -> dict:
    done = run_python("-m", "bnncc", "doctor", "--json", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_doctor_never_takes_the_fake_driver_for_a_gpu() -> None:
    report = doctor(FAKE_CUDA_DEVICES="sm_80,sm_90a")
    (gpu,) = [item for item in report["findings"] if "GPU" in item["what"]]
    assert gpu["state"] == "optional"
    assert "emulated (fake A100 (emulated), fake H200 (emulated))" in gpu["found"]
    assert "NVIDIA driver" not in {item["what"] for item in report["findings"]}
    assert report["driver"]["is_emulated"]
    assert [device["capability"] for device in report["driver"]["devices"]] == [[8, 0], [9, 0]]


def test_doctor_lists_driver_and_devices() -> None:
    """The driver's answers as a true one gives them: without the mark, everything is said to be a GPU."""
    code = "import bnncc.toolchain.cuda_driver as c; c._EMULATED_MARK = 'no such symbol'\n"
    code += "from bnncc.cli.main import main; import sys; sys.argv = ['bnncc', 'doctor']; main()"
    done = run_python("-c", code, FAKE_CUDA_DEVICES="sm_80,sm_90a")
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("good")}
    assert "up to CUDA 13.0" in lines["NVIDIA"]
    assert "GPU 1" in done.stdout
    assert "sm_90, 132 multiprocessors, 8.0 GiB" in done.stdout


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"FAKE_CUDA_DEVICES": ""}, "no CUDA-capable device is detected"),
        ({"FAKE_CUDA_FAIL": "cuInit=SYSTEM_DRIVER_MISMATCH"}, "driver combination"),
        ({"LD_LIBRARY_PATH": ""}, "Install the driver of your GPU"),
    ],
)
def test_doctor_says_why_there_is_no_gpu(environment: dict[str, str], word: str) -> None:
    report = doctor(**environment)
    (gpu,) = [item for item in report["findings"] if item["what"] == "GPU"]
    assert gpu["state"] == "optional"
    assert word in gpu["found"]
    assert report["driver"] is None


NETWORK = """\
network one {
  input image: u8[3, 6, 6]
  image -> normalize(scale = 1/255) -> conv(33, 3) -> batch_norm -> sign -> flatten -> dense(3) -> batch_norm
    -> output scores
}
"""


@pytest.mark.skipif(find_spec("pycuda") is None, reason="no PyCUDA on this machine")
def test_the_command_line_runs_a_network_on_the_device(tmp_path: Path) -> None:
    import numpy as np

    import bnncc

    source, package, ptx = tmp_path / "one.bnn", tmp_path / "one.bnnpkg", tmp_path / "ptx"
    source.write_text(NETWORK)
    ptx.mkdir()
    compiled = bnncc.compile(source, target=("cuda",), arch=("sm_80",), seed=1)
    compiled.save(package)
    name = digest(compiled.entry("cubin/sm_80.cubin"))
    (ptx / f"{name}.ptx").write_bytes(compiled.entry("ptx/sm_80.ptx"))
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 6, 6), np.uint8)
    np.save(tmp_path / "images.npy", images)
    arguments = ("-m", "bnncc", "run", str(package), "--input", str(tmp_path / "images.npy"), "--trust")
    report = tmp_path / "report.json"
    results = []
    for backend in ("ref", "cuda"):
        result = tmp_path / f"{backend}.npy"
        done = run_python(
            *arguments,
            *("--backend", backend, "--output", str(result)),
            FAKE_CUDA_PTX=str(ptx),
            FAKE_CUDA_REPORT=str(report),
        )
        assert done.returncode == 0, done.stderr
        assert f"backend: {backend}" in done.stdout + done.stderr
        results.append(np.load(result))
    np.testing.assert_array_equal(*results)
    assert not any(json.loads(report.read_text()).values())


@pytest.mark.parametrize(
    ("threads", "registers"), [((), 64), ((1024, 1, 1), 64), ((384,), 168), ((64, 2), 255)]
)
def test_ptx_without_an_assembler_counts_as_taking_all_registers(
    threads: tuple[int, ...], registers: int
) -> None:
    from bnncc.emulator import KernelSignature
    from bnncc.toolchain.occupancy import LIMITS, KernelNeeds, occupancy

    kernel = KernelSignature(
        name="k",
        symbol="k",
        parameters=(),
        parameter_bytes=0,
        static_shared_bytes=96,
        local_bytes=8,
        stack_bytes=0,
        granularity=4,
        global_granularity=4,
        max_threads=threads,
        required_threads=(),
    )
    facts = Image(module=None, facts={}, ptx_version=80, binary_version=80).facts_of(kernel)
    assert (facts.registers, facts.shared_bytes, facts.local_bytes) == (registers, 96, 8)
    needs = KernelNeeds(threads=facts.max_threads, registers=facts.registers)
    assert all(occupancy(limits, needs).blocks >= 1 for limits in LIMITS)
