"""Sessions on the fake device with arrays that lie there: calls, streams, outputs of the caller, errors."""

from __future__ import annotations

import gc
import json
from functools import cache

import numpy as np
import pytest
from typer.testing import CliRunner

import bnncc
from bnncc.cli.main import make_app
from bnncc.diagnostics import DataError
from bnncc.runtime.cuda import DeviceArray
from bnncc.runtime.session import Session
from tests.fake_driver.driver import attached
from tests.fake_driver.runtime_networks import ForeignStream, WithDlpack, WithInterface

SOURCE = """\
network one {
  input image: u8[20]
  image -> normalize(scale = 1/255) -> dense(33) -> batch_norm -> sign -> dense(3) -> batch_norm
    -> output scores
}
"""
IMAGES = np.random.default_rng(5).integers(0, 256, (11, 20), np.uint8)


@pytest.fixture(scope="module")
def fake():
    found = attached()
    found.show("sm_80:2,sm_80:2")
    return found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, fake):
    path = tmp_path_factory.mktemp("session") / "one.bnn"
    path.write_text(SOURCE)

    @cache
    def make(fuse):
        package = bnncc.compile(path, target=("cuda",), arch=("sm_80",), fuse=fuse, seed=1)
        fake.register(package.entry("cubin/sm_80.cubin"), package.entry("ptx/sm_80.ptx"))
        return package

    return make


@pytest.fixture(scope="module")
def package(compiled):
    return compiled("auto")


@pytest.fixture(scope="module")
def expected(package):
    return Session(package, "ref")(IMAGES)


@pytest.fixture
def session(fake, package):
    with Session(package, "cuda") as opened:
        yield opened
    gc.collect()
    assert fake.alive("contexts") == 0


@pytest.fixture
def device(session):
    return session._executable.session


class Sliced(WithDlpack):
    """One image, which can be given a batch axis."""

    def __getitem__(self, key):
        assert key is None
        return WithDlpack(self.session, self.array[None])

    @property
    def shape(self):
        return self.array.shape


class Shaped(WithDlpack):
    @property
    def shape(self):
        return self.array.shape


def test_on_the_device_in_and_out(session, device, expected):
    stream = ForeignStream(device)
    array = Shaped(device, IMAGES, stream)
    scores = session(array, stream=stream)
    assert isinstance(scores, DeviceArray)
    np.testing.assert_array_equal(scores.numpy(), expected)
    np.testing.assert_array_equal(session(image=array).numpy(), expected)
    again = session(array, stream=stream)
    np.testing.assert_array_equal(np.asarray(again), expected)
    array.close()
    stream.close()


def test_one_image(session, device, expected):
    array = Sliced(device, IMAGES[4])
    scores = session(array)
    assert scores.shape == (3,)
    np.testing.assert_array_equal(scores.numpy(), expected[4])
    array.close()


def test_results_can_be_inputs(session, device):
    with pytest.raises(DataError, match="dtype float32; it should be uint8"):
        session(session(Shaped(device, IMAGES)))


def test_outputs_of_the_caller(session, device, expected):
    array, out = Shaped(device, IMAGES), WithInterface(device, np.zeros_like(expected))
    assert session(array, out=out) is out
    np.testing.assert_array_equal(out.numpy(), expected)
    assert session(array, out={"scores": out}) is out
    with pytest.raises(DataError, match="out= takes arrays for scores; look at 'score'"):
        session(array, out={"score": out})
    with pytest.raises(DataError, match=r"output 'scores' is a 'ndarray', which is not on the device|host"):
        session(array, out=np.zeros_like(expected))
    array.close()
    out.close()


def test_the_host_stays_the_host(session, expected):
    out = np.zeros_like(expected)
    assert session(IMAGES, out=out) is out
    np.testing.assert_array_equal(out, expected)
    for bad in (out[1:], out.astype(np.float64), [0]):
        with pytest.raises(DataError, match="output 'scores'"):
            session(IMAGES, out=bad)
    with pytest.raises(DataError, match="stream= is for arrays on the device"):
        session(IMAGES, stream=0)


def test_graphs_off_and_another_device(fake, package, expected):
    with Session(package, "cuda", graph=False, device=1) as session:
        for _ in range(3):
            np.testing.assert_array_equal(session(IMAGES), expected)
        assert session._executable.session.index == 1
    assert fake.alive("contexts") == 0


def test_a_device_is_for_cuda(package):
    with pytest.raises(DataError, match="device=1 names a GPU, and the backend is 'ref'"):
        Session(package, "ref", device=1)


@pytest.mark.parametrize(
    ("fuse", "option", "launches"),
    [
        ("persistent", "--graph", "one cooperative launch"),
        ("layer", "--graph", "2 launches, as a CUDA graph"),
        ("layer", "--no-graph", "2 launches"),
    ],
)
def test_bench_says_how_the_network_is_launched(compiled, tmp_path, fuse, option, launches):
    path = tmp_path / "one.bnnpkg"
    compiled(fuse).save(path)
    arguments = ["bench", str(path), "--backend", "cuda", "--batch", "2,3", "--seconds", "0.01", option]
    done = CliRunner().invoke(make_app(), [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert [row["batch"] for row in rows] == [2, 3]
    assert [row["launches"] for row in rows] == [launches] * 2
    assert all(row["device_us_per_image"] > 0 for row in rows)
    assert launches in CliRunner().invoke(make_app(), arguments).output


def test_device_times_are_of_cuda(package):
    with pytest.raises(DataError, match="this session's is 'ref'"):
        Session(package, "ref").time_on_device({"image": IMAGES})
