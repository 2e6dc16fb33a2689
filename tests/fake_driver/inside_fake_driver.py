"""Tests of ``bnncc.runtime.cuda`` on real PyCUDA and the fake driver; `test_cuda_runtime` starts them."""

from __future__ import annotations

import numpy as np
import pytest

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
