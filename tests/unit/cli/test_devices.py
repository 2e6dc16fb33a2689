"""``devices``: descriptions, and predictions of a network."""

from __future__ import annotations

import json


def test_descriptions_with_their_sources(bnncc):
    done = bnncc("devices")
    assert done.code == 0
    assert "H200" in done.out
    assert "assumed" in done.out
    found = json.loads(bnncc("devices", "--device", "t4", "--json").out)
    assert found["T4"]["numbers"]["multiprocessors"] == 40


def test_predictions_of_a_network(bnncc, folder):
    small = json.loads(bnncc("devices", "tiny.bnn", "--json").out)
    large = json.loads(bnncc("devices", "tiny.bnn", "--json", "--batch", "1000").out)
    assert small["device"] == "Zen 4, AVX-512"
    assert 0 < small["us"] < large["us"]
    gpu = bnncc("devices", "tiny.bnn", "--device", "h200")
    assert "launch" in gpu.out
    assert bnncc("devices", "tiny.bnn", "--device", "abacus").code == 5
