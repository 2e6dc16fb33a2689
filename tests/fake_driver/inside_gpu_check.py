"""``benchmarks.gpu_check`` on the fake driver; run by ``test_cuda_runtime.py`` where its library is found."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.gpu_check import (
    bandwidth,
    checks,
    descriptors,
    device,
    executor,
    measure,
    network_times,
    rates,
    run,
    waits,
)
from benchmarks.gpu_check import main as gpu_check
from benchmarks.gpu_check.driver import Shape
from benchmarks.gpu_check.products import time_products
from bnncc.ir.reference.program import run_program
from bnncc.targets.cuda.select import Tier
from bnncc.toolchain.cuda_compiler import compile_cuda
from tests.fake_driver.driver import attached


@pytest.fixture(scope="module")
def fake():
    return attached()


@pytest.fixture(autouse=True)
def little(fake, monkeypatch):
    """The PTX of every cubin registered, and little to do."""
    fake.fail("")
    fake.show("sm_80:2")

    def compile_both(compiler, source, arch, kind, **options):
        ptx, cubin = (compile_cuda(compiler, source, arch, made, **options) for made in ("ptx", "cubin"))
        fake.register(cubin.data, ptx.data)
        return ptx if kind == "ptx" else cubin

    monkeypatch.setattr(device, "compile_cuda", compile_both)
    monkeypatch.setattr(executor, "compile_cuda", compile_both)
    for module, name, value in (
        (checks, "NAMES", ("digits",)),
        (checks, "SMALL", ("dense_stores",)),
        (checks, "NETWORK_BATCHES", (9,)),
        (network_times, "TIMED", ("digits",)),
        (network_times, "TIMED_BATCHES", (1,)),
        (measure, "ENOUGH_S", 1e-3),
        (measure, "LONGEST_HOLD_S", 1e-6),
        (rates, "ITERATIONS", 3),
        (waits, "FEW", 1),
        (waits, "MANY", 3),
        (waits, "CHAIN", 3),
    ):
        monkeypatch.setattr(module, name, value)
    yield
    fake.fail("")


def checked(parts, folder):
    """Return the exit code and the report of parts in this process."""
    arguments = ["--parts", parts, "--same-process", "--out", str(folder), "--name", "r"]
    status = gpu_check.main(arguments)
    return status, json.loads((folder / "r.json").read_text())


@pytest.fixture
def machine(fake):
    fake.show("sm_90a:2")
    return device.Machine(0, gpu_check.find_cuda_compiler())


def test_it_compares_times_and_writes(tmp_path):
    status, report = checked("environment,small,networks,ours,profile", tmp_path)
    assert status == 0
    facts = {row["what"]: row["value"] for row in report["parts"]["environment"]}
    assert facts["device"] == "fake A100 (emulated)"
    for part in ("small", "networks", "ours"):
        assert {row["result"] for row in report["parts"][part]} == {"ok"}
    assert {row["kernels"] for row in report["parts"]["networks"]} >= {"popc", "bmma", "bmma, persistent"}
    assert report["parts"]["profile"]
    assert "Everything that was compared is equal" in (tmp_path / "r.md").read_text()


def test_kernels_of_the_executor(monkeypatch, tmp_path):
    few = [
        case
        for case in executor.cases()
        if case.source == "hopper" or case.name in ("pool", "layers", "mma_pitch")
    ]
    monkeypatch.setattr(executor, "cases", lambda: few)
    status, report = checked("executor", tmp_path)
    assert status == 0
    results = {row["case"]: row["result"] for row in report["parts"]["executor"]}
    assert [results[name] for name in ("pool", "layers", "mma_pitch")] == ["ok"] * 3
    assert results["wgmma_wait"] == "not run: it needs sm_90a"


def test_it_says_what_is_wrong(fake, tmp_path):
    fake.fail("cuLaunchKernel=LAUNCH_OUT_OF_RESOURCES, cuLaunchKernelEx=LAUNCH_OUT_OF_RESOURCES")
    status, _ = checked("small", tmp_path)
    assert status == 3
    assert "too many resources" in (tmp_path / "r.md").read_text()


def test_it_sees_a_wrong_result(monkeypatch, tmp_path):
    def shifted(program, inputs):
        return {name: array + 1 for name, array in run_program(program, inputs).items()}

    monkeypatch.setattr(checks, "run_program", shifted)
    assert checked("small", tmp_path)[0] == 3


def test_without_a_device(fake, capsys):
    fake.show("")
    assert gpu_check.main(["--no-files"]) == 4
    assert "no CUDA-capable device" in capsys.readouterr().err


def test_parts_in_processes_of_their_own(monkeypatch):
    """A part that is too slow keeps its rows; what cannot run is a row; the others are not touched."""
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "sm_80:2")
    report = {"status": {}, "parts": {}}
    noted = []
    run.run_apart(
        ["environment", "sanitizer", "descriptors"], 0, run.time.monotonic() + 60, report, noted.append
    )
    assert sorted(noted) == ["descriptors", "environment", "sanitizer"]
    assert report["parts"]["environment"][0]["value"] == "fake A100 (emulated)"
    assert report["parts"]["descriptors"][-1]["result"].startswith("not run")
    run.run_apart(["rates"], 0, run.time.monotonic(), report, noted.append)
    assert report["status"]["rates"].startswith("cut off")


def test_descriptors_lead_to_advice(machine):
    rows = list(descriptors.check_descriptors(machine))
    assert {row["result"] for row in rows[:-1]} == {"ok"}
    assert rows[-1]["result"] == descriptors.TAKES_THEM


def test_rates_count_what_they_should(machine):
    rows = list(rates.measure_rates(machine))
    assert {row["kernel"] for row in rows} == {rate.kernel for rate in rates.RATES}
    assert {row["result"] for row in rows} == {"ok"}


def test_waits(machine):
    rows = {row["what"]: row for row in waits.measure_waits(machine)}
    assert rows["our grid barrier"]["result"] == "ok"
    assert rows["barrier of a cluster of 8"]["result"].startswith("not measured")
    assert rows["dependent launch in a graph, begun early"]["device_us"] > 0


def test_bandwidth(machine):
    rows = {row["what"]: row for row in bandwidth.measure_bandwidth(machine, 1 << 21, 9)}
    assert rows["copy_all"]["result"] == "ok"
    assert rows["bulk copies, L2 to shared memory"]["result"] == "ok"


def test_products(machine, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu_check.products.OURS", (Tier.WGMMA,))
    monkeypatch.setattr("benchmarks.gpu_check.products.shapes", lambda _: ())
    monkeypatch.setattr("benchmarks.gpu_check.products.PAPER", ("paper_xnor",))
    monkeypatch.setattr("benchmarks.gpu_check.products.LAYERS", (1, 2))
    rows = list(time_products(machine, (512,)))
    assert [row["who"] for row in rows] == ["bnncc", "paper_xnor"]
    assert {row["result"] for row in rows} == {"ok"}


def test_the_baseline_of_the_paper(machine):
    rng, driver = np.random.default_rng(3), machine.driver
    a, b = rng.normal(size=(2, 32, 32)).astype(np.float32).round()
    kernel = machine.kernels("paper", "paper_baseline")["paper_baseline"]
    with driver.buffers(a=a.nbytes, b=b.nbytes, y=a.nbytes) as buffers:
        driver.upload(buffers["a"], a)
        driver.upload(buffers["b"], b)
        shape = Shape(grid=(2, 2), block=256, block_x=16)
        kernel.launch(shape, [buffers["a"], buffers["b"], buffers["y"], 32, 32])
        np.testing.assert_array_equal(driver.download(buffers["y"], np.float32, 1024), (a @ b).ravel())


def test_captured_work_is_replayed(machine):
    driver = machine.driver
    hold = machine.kernels("waits", "hold")["hold"]
    with driver.buffers(y=4) as buffers:
        driver.upload(buffers["y"], np.zeros(1, np.uint32))
        replay = driver.captured(lambda: hold.launch(Shape(grid=(1,), block=1), [buffers["y"], 1]))
        replay()
        replay()
        assert driver.download(buffers["y"], np.uint32, 1)[0] == (1013904223 * 1664525 + 1013904223) % 2**32
