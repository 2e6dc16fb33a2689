"""Tuning on a GPU, on the fake driver, whose times mean nothing; `test_tuning_on_gpu` starts it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bnncc
from bnncc.diagnostics import DataError
from bnncc.passes.pipeline import lower_network
from bnncc.runtime.contents import graph_of
from bnncc.runtime.cuda import CudaSession
from bnncc.runtime.session import Session
from bnncc.runtime.tuning.gpu import GpuTuning, arch_of
from bnncc.runtime.tuning.store import TuningStore
from bnncc.targets.cuda.measured import measured_uses
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from tests.fake_driver.driver import attached

SOURCE = """\
network one {
  input image: i8[70]
  image -> dense(64) -> batch_norm -> sign -> dense(64) -> batch_norm -> sign -> dense(3) -> batch_norm
    -> output scores
}
"""
IMAGES = np.random.default_rng(5).integers(-128, 128, (20, 70), np.int8)


@pytest.fixture
def model(tmp_path, monkeypatch):
    cache = BuildCache.default()
    monkeypatch.setenv("BNNCC_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "one.bnn"
    path.write_text(SOURCE)
    return path, cache


def tuned_entries(fake, graph, cache):
    compiler = find_cuda_compiler()
    fake.show("sm_80:2")
    session = CudaSession(0)
    try:
        tuning = GpuTuning(
            session=session,
            arch=arch_of(session.device.capability),
            compiler=compiler,
            images_of=lambda made: (compile_cuda(compiler, made.source.text, "sm_80", "ptx", cache=cache),),
            batches=(1, 3),
            rounds=3,
            say=print,
        )
        return tuple(tuning.entries(graph))
    finally:
        session.close()


def compiled(path, **options):
    return bnncc.compile(path, target=("cuda",), arch=("sm_80",), seed=1, **options)


def test_what_is_measured_reaches_the_package(model):
    path, cache = model
    fake = attached()
    before = compiled(path)
    entries = tuned_entries(fake, lower_network(graph_of(before)), cache)
    assert fake.alive("contexts") == 0
    assert [entry.problem.split()[0] for entry in entries] == ["XnorLayer", "XnorLayer", "launches"]
    for entry in entries[:2]:
        assert set(measured_uses({"tier.x": entry.choice}).tiers["x"]) == {"sm_80"}
    assert int(entries[2].choice) in (0, 1, 3)
    TuningStore.default().add(entries)

    tuned = compiled(path)
    options = tuned.manifest.target("cuda").options
    assert "tuning" in options
    measured = measured_uses(options)
    assert measured.to_texts().items() <= options.items()
    assert measured.fuse == {"sm_80": int(entries[2].choice)}
    rows = json.loads(tuned.entry("report.json"))["targets"]["cuda"]
    reasons = [row["chosen"]["sm_80"]["reason"] for row in rows if row["chosen"]]
    assert any("measured" in reason for reason in reasons)
    assert tuned.manifest == compiled(path).manifest
    assert "tuning" not in compiled(path, tuned=False).manifest.target("cuda").options
    with Session(tuned, "emulator") as emulated:
        np.testing.assert_array_equal(emulated(IMAGES), Session(tuned, "ref")(IMAGES))


@pytest.mark.parametrize("text", ["", "sm_80 bmma", "sm_80 bmma=x", "sm_80 =3", "; sm_80 bmma=1"])
def test_damaged_options_are_refused(text):
    with pytest.raises(DataError):
        measured_uses({"tier.x": text})
