"""Tests of sessions on a GPU, with real PyCUDA and the fake driver; `test_session_on_gpu` starts them."""

from __future__ import annotations

import numpy as np
import pytest

import bnncc
from bnncc.diagnostics import PlatformError
from bnncc.runtime import backends
from bnncc.runtime.session import Session
from tests.fake_driver.driver import attached

SOURCE = """\
network one {
  input image: u8[3, 6, 6]
  image -> normalize(scale = 1/255) -> conv(33, 3) -> max_pool(2) -> batch_norm -> sign
    -> conv(40, 3) -> batch_norm -> sign -> flatten -> dense(3) -> batch_norm
    -> output scores
}
"""
IMAGES = np.random.default_rng(5).integers(0, 256, (11, 3, 6, 6), np.uint8)


@pytest.fixture(scope="module")
def fake():
    return attached()


@pytest.fixture(scope="module")
def package(tmp_path_factory, fake):
    path = tmp_path_factory.mktemp("session") / "one.bnn"
    path.write_text(SOURCE)
    package = bnncc.compile(path, target=("cuda",), arch=("sm_80",), seed=1)
    fake.register(package.entry("cubin/sm_80.cubin"), package.entry("ptx/sm_80.ptx"))
    return package


@pytest.mark.parametrize("capability", [80, 87])
@pytest.mark.parametrize("backend", ["cuda", "auto"])
def test_machine_code_or_ptx(fake, package, capability, backend):
    fake.show(f"sm_{capability}:2")
    expected = Session(package, "ref")(IMAGES)
    with Session(package, backend) as session:
        assert session.backend == "cuda"
        np.testing.assert_array_equal(session(IMAGES), expected)
        np.testing.assert_array_equal(session(IMAGES[3]), expected[3])
    assert fake.alive("contexts") == 0
    assert not fake.faults


def test_a_torch_tensor_comes_back_as_one(fake, package):
    torch = pytest.importorskip("torch")
    fake.show("sm_80:2")
    with Session(package, "cuda") as session:
        assert isinstance(session(torch.from_numpy(IMAGES)), torch.Tensor)


def test_binaries_inside_run_only_when_trusted(fake, package, monkeypatch):
    def missing():
        raise PlatformError("no CUDA compiler found")

    fake.show("sm_80:2")
    monkeypatch.setattr(backends, "find_cuda_compiler", missing)
    with pytest.raises(PlatformError, match="trust"):
        Session(package, "cuda")
    assert fake.alive("contexts") == 0
    with Session(package, "cuda", trust=True) as session:
        np.testing.assert_array_equal(session(IMAGES), Session(package, "ref")(IMAGES))


def test_a_device_too_old_is_named(fake, package):
    fake.show("sm_61:2")
    with pytest.raises(PlatformError, match=r"6\.1"):
        Session(package, "cuda")
    assert fake.alive("contexts") == 0
