"""The file of measurements: whole, readable, one entry a problem and place."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bnncc.diagnostics import DataError
from bnncc.runtime.tuning.store import Entry, Place, TuningStore, digest

HERE = Place(target="c", device="a processor, x86-64-v4", compiler="gcc 12")
ENTRY = Entry(place=HERE, problem="a layer", choice="panels=2 band=auto pool=tile", measured="1.2x")


def test_entries_come_back_and_replace_each_other(tmp_path):
    store = TuningStore(tmp_path / "deep" / "tuning.json")
    assert store.entries() == ()
    other = replace(ENTRY, place=replace(HERE, compiler="clang 19"))
    store.add([ENTRY, other])
    store.add([newer := replace(ENTRY, choice="panels=3 band=auto pool=tile")])
    assert store.at(HERE) == {"a layer": newer}
    assert set(store.entries()) == {newer, other}
    assert store.at(replace(HERE, bnncc="0.0.0")) == {}
    assert "panels=3" in store.path.read_text()
    assert store.clear()
    assert not store.clear()


def test_the_same_entries_make_the_same_file(tmp_path):
    first, second = TuningStore(tmp_path / "1"), TuningStore(tmp_path / "2")
    more = replace(ENTRY, problem="b")
    first.add([ENTRY, more])
    second.add([more])
    second.add([ENTRY])
    assert first.path.read_bytes() == second.path.read_bytes()


def test_the_digest_is_of_decisions_not_of_times():
    assert digest([ENTRY]) == digest([replace(ENTRY, measured="1.3x")])
    assert digest([ENTRY]) != digest([replace(ENTRY, choice="panels=1 band=auto pool=tile")])
    more = replace(ENTRY, problem="b")
    assert digest([ENTRY, more]) == digest([more, ENTRY])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"schema": "bnncc-tuning/1"}', '{"schema": "bnncc-tuning/0", "entries": []}']
    + [json.dumps({"schema": "bnncc-tuning/1", "entries": [item]}) for item in ({}, {"place": {}}, 3)],
)
def test_damaged_files_are_named(tmp_path, content):
    store = TuningStore(tmp_path / "tuning.json")
    store.path.write_text(content)
    with pytest.raises(DataError, match=r"tuning\.json.*--clear"):
        store.entries()
