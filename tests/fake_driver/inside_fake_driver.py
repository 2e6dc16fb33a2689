"""Tests of ``bnncc.runtime.cuda`` on real PyCUDA and the fake driver; `test_cuda_runtime` starts them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.gpu_check import device, executor, parts
from benchmarks.gpu_check import main as gpu_check
from bnncc.diagnostics import DataError, PlatformError
from bnncc.ir.reference.program import run_program
from bnncc.runtime.cuda import CudaSession, list_devices
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import DeviceImage, compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from tests.codegen.cuda.layer_groups import conv_stores, dense_chain, integer_dense
from tests.cuda_programs import inputs_of
from tests.fake_driver.driver import attached


@pytest.fixture(scope="module")
def fake():
    return attached()


@pytest.fixture
def session(fake):
    fake.fail("")
    fake.faults.clear()
    fake.show("sm_80:2")
    with CudaSession() as opened:
        yield opened
    fake.fail("")


def images_of(artifact, fake, arch="sm_80"):
    compiler, cache = find_cuda_compiler("nvrtc"), BuildCache.default()
    ptx, cubin = (
        compile_cuda(compiler, artifact.source.text, arch, kind, cache=cache) for kind in ("ptx", "cubin")
    )
    fake.register(cubin.data, ptx.data)
    return ptx, cubin


def loaded(session, fake, make, **options):
    program = make()
    artifact = CudaTarget().emit(program)
    return program, session.load(artifact, program.blob(), images_of(artifact, fake), **options)


@pytest.mark.parametrize("make", [conv_stores, dense_chain, integer_dense], ids=lambda make: make.__name__)
@pytest.mark.parametrize("poison", [None, 0xA5])
def test_run_equals_the_reference(session, fake, make, poison):
    program, executable = loaded(session, fake, make, poison=poison)
    for images in (3, 9, 1):
        inputs = inputs_of(program, images, seed=images)
        expected = run_program(program, inputs)
        for name, array in executable.run(inputs).items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
    executable.close()
    assert not fake.faults


def test_ptx_alone_is_enough(session, fake):
    program = dense_chain()
    artifact = CudaTarget().emit(program)
    executable = session.load(artifact, program.blob(), images_of(artifact, fake)[:1])
    inputs = inputs_of(program, 2)
    np.testing.assert_array_equal(executable.run(inputs)["scores"], run_program(program, inputs)["scores"])
    executable.close()


def test_nothing_is_left_behind(session, fake):
    before = len(fake.buffers)
    for _ in range(5):
        program, executable = loaded(session, fake, dense_chain)
        executable.run(inputs_of(program, 2))
        executable.close()
        executable.close()
    assert len(fake.buffers) == before
    with pytest.raises(PlatformError, match="closed"):
        executable.run(inputs_of(program, 2))


def test_sessions_come_and_go(fake):
    before = fake.alive("contexts")
    for _ in range(3):
        with CudaSession() as opened:
            assert opened.device.name == "fake A100 (emulated)"
            assert opened.device.multiprocessors == 2
        opened.close()
    assert fake.alive("contexts") == before
    with pytest.raises(PlatformError, match="session is closed"), opened.active("loading"):
        pass


def test_out_of_memory_is_said(session, fake):
    program, executable = loaded(session, fake, dense_chain)
    fake.fail("cuMemAlloc=OUT_OF_MEMORY")
    with pytest.raises(PlatformError, match=r"'dense_chain', running 2 images.*out of memory"):
        executable.run(inputs_of(program, 2))
    fake.fail("")
    executable.run(inputs_of(program, 2))
    executable.close()


def test_a_broken_image_is_refused(session):
    program = dense_chain()
    artifact = CudaTarget().emit(program)
    for data in (b"\x7fELF broken", b"no ptx\0"):
        image = DeviceImage(arch="sm_80", kind="cubin", data=data)
        with pytest.raises(PlatformError, match="kernel image is invalid"):
            session.load(artifact, program.blob(), [image])


def test_inputs_that_do_not_fit(session, fake):
    program, executable = loaded(session, fake, dense_chain)
    good = inputs_of(program, 2)["image"]
    for inputs, word in (
        ({}, "takes the inputs image"),
        ({"image": good[:, 1:]}, "shape"),
        ({"image": good.astype(np.float32)}, "dtype"),
        ({"image": good, "more": good}, "takes the inputs image"),
    ):
        with pytest.raises(DataError, match=word):
            executable.run(inputs)
    executable.close()


def test_devices_are_listed(session, fake):
    assert [device.capability for device in list_devices()] == [(8, 0)]
    with pytest.raises(PlatformError, match="no CUDA device 3"):
        CudaSession(3)


def test_no_device(fake):
    fake.show("")
    with pytest.raises(PlatformError, match=r"no CUDA-capable device.*nvidia-smi"):
        list_devices()
    fake.show("sm_80:2")


def test_a_device_the_code_is_not_for(session, fake):
    fake.show("sm_75:2")
    with CudaSession() as older, pytest.raises(PlatformError, match=r"7.5.*cubin sm_80.*--arch sm_75"):
        loaded(older, fake, dense_chain)
    fake.show("sm_80:2")


@pytest.fixture
def checked(fake, monkeypatch):
    """``gpu_check`` with the PTX of every cubin registered, and little to do."""
    fake.fail("")
    fake.show("sm_80:2")

    def compile_both(compiler, source, arch, kind, **options):
        ptx, cubin = (compile_cuda(compiler, source, arch, made, **options) for made in ("ptx", "cubin"))
        fake.register(cubin.data, ptx.data)
        return ptx if kind == "ptx" else cubin

    monkeypatch.setattr(device, "compile_cuda", compile_both)
    monkeypatch.setattr(executor, "compile_cuda", compile_both)
    monkeypatch.setattr(parts, "NAMES", ("digits",))
    monkeypatch.setattr(parts, "TIMED_BATCHES", (1,))
    monkeypatch.setattr(parts, "NETWORK_BATCHES", (9,))
    monkeypatch.setattr(parts, "REPEATS", 2)
    monkeypatch.setattr(parts, "WHOLE_RUNS", 1)
    yield gpu_check.main
    fake.fail("")


def test_gpu_check_compares_times_and_writes(checked, tmp_path):
    assert checked(["--parts", "small,networks,timing", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert report["environment"]["device"] == "fake A100 (emulated)"
    assert {row["result"] for row in report["parts"]["small"]} == {"ok"}
    assert {row["launch"] for row in report["parts"]["timing"]} >= {"all"}
    assert "Everything that was compared is equal" in (tmp_path / "gpu_check.md").read_text()


def test_gpu_check_runs_the_kernels_of_the_executor(checked, monkeypatch, tmp_path):
    few = [
        case
        for case in executor.cases()
        if case.source == "hopper" or case.name in ("pool", "layers", "mma_pitch")
    ]
    monkeypatch.setattr(executor, "cases", lambda: few)
    assert checked(["--parts", "executor", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "gpu_check.json").read_text())["parts"]["executor"]
    results = {row["case"]: row["result"] for row in rows}
    assert [results[name] for name in ("pool", "layers", "mma_pitch")] == ["ok"] * 3
    assert results["wgmma_wait"] == "not run: it needs sm_90a"


def test_gpu_check_says_what_is_wrong(checked, fake, tmp_path):
    fake.fail("cuLaunchKernel=LAUNCH_OUT_OF_RESOURCES, cuLaunchKernelEx=LAUNCH_OUT_OF_RESOURCES")
    assert checked(["--parts", "small", "--out", str(tmp_path)]) == 3
    assert "too many resources" in (tmp_path / "gpu_check.md").read_text()


def test_gpu_check_sees_a_wrong_result(checked, monkeypatch, tmp_path):
    def shifted(program, inputs):
        return {name: array + 1 for name, array in run_program(program, inputs).items()}

    monkeypatch.setattr(parts, "run_program", shifted)
    assert checked(["--parts", "small", "--out", str(tmp_path)]) == 3


def test_gpu_check_without_a_device(checked, fake, capsys):
    fake.show("")
    assert checked(["--no-files"]) == 4
    assert "no CUDA-capable device" in capsys.readouterr().err
    fake.show("sm_80:2")
