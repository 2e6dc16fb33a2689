"""``tune``: measures, remembers; ``compile`` takes it, and says so in the package."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bnncc.codegen.package import Package
from bnncc.runtime.session import Session
from bnncc.runtime.tuning.store import TuningStore

IMAGES = np.random.default_rng(3).integers(0, 256, (5, 1, 8, 8), np.uint8)


@pytest.fixture
def compiled(bnncc, folder):
    """Compile the network again and return the package."""

    def run(*options: str) -> Package:
        done = bnncc("compile", "tiny.bnn", "--random-weights", "--target", "c", *options)
        assert done.code == 0
        return Package.load(folder / "tiny.bnnpkg")

    return run


def test_measured_choices_reach_the_package(bnncc, compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("BNNCC_CACHE_DIR", str(tmp_path / "cache"))
    before = compiled()
    assert "tuning" not in before.manifest.target("c").options
    done = bnncc("tune", "tiny.bnn", "--seconds", "0.05", "--batch", "4")
    assert done.code == 0
    store = TuningStore.default()
    assert len(store.entries()) == 3  # two layers, and the images of a chunk
    # Which way is fastest nobody knows here: so say that another one is.
    layer = next(entry for entry in store.entries() if "IntegerLayer" in entry.problem)
    store.add([replace(layer, choice="panels=1 band=4096 pool=pass")])

    tuned = compiled()
    assert "panels=1 band=4096 pool=pass" in tuned.manifest.target("c").options.values()
    assert "tuning" in tuned.manifest.target("c").options
    assert tuned.entry("src/model.c") != before.entry("src/model.c")
    rows = json.loads(tuned.entry("report.json"))["targets"]["c"]
    assert [row["by"].split(",")[0] for row in rows if "Layer" in row["op"]] == ["measured", "measured"]
    np.testing.assert_array_equal(Session(tuned, "c")(IMAGES), Session(before, "ref")(IMAGES))
    assert {name: compiled().entry(name) for name in tuned.entries} == {
        name: tuned.entry(name) for name in tuned.entries
    }
    untuned = compiled("--no-tuned")
    assert {name: untuned.entry(name) for name in untuned.entries} == {
        name: before.entry(name) for name in before.entries
    }

    assert "panels=1 band=4096 pool=pass" in bnncc("tune", "--show").out
    assert bnncc("tune", "--clear").code == 0
    assert store.entries() == ()


def test_something_has_to_be_said(bnncc, folder):
    assert bnncc("tune").code == 2
    assert bnncc("tune", "tiny.bnn", "--target", "tpu").code == 2
    assert bnncc("tune", "tiny.bnn", "--batch", "0").code == 2
