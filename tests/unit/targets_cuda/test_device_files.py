"""Descriptions of devices: every number has a source, and what is wrong in a file is named."""

from __future__ import annotations

import pytest

from bnncc.analysis.cost import Cost
from bnncc.diagnostics import DataError
from bnncc.targets.c.forms import MACHINES
from bnncc.targets.cuda.device import DEVICES, rates_of
from bnncc.targets.device_files import FOLDER, described_devices, device_named, read_device
from bnncc.targets.roofline import LAUNCH_S, Bound, predicted, roof_of

GOOD = (FOLDER / "h200.toml").read_text()


def test_shipped_files_describe_every_architecture_and_form():
    found = described_devices()
    gpus = [rates_of(item) for item in found if item.kind == "gpu"]
    assert {gpu.arch for gpu in gpus} == set(DEVICES)
    assert DEVICES["sm_90a"].name == "H200"
    machines = {MACHINES[item.words["march"]].form for item in found if item.kind == "cpu"}
    assert len(machines) == 4
    assert all(set(item.numbers) == set(item.sources) for item in found)


def test_names_are_those_of_files_and_products(tmp_path):
    assert device_named("rtx-4090") == device_named("RTX 4090")
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace("H200", "mine"))
    assert device_named(str(path)).name == "mine"
    with pytest.raises(DataError, match=r"'foo'; choose a100, "):
        device_named("foo")
    with pytest.raises(DataError, match="there is no description of a device"):
        device_named("nowhere.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[numbers]", "[numbers", "no TOML"),
        ('"gpu"', '"tpu"', "'tpu'; it is 'gpu' or 'cpu'"),
        ("[sources]", "[other]", r"no tables \[numbers\] and \[sources\]"),
        ("popcounts = 16\n", "", r"\[numbers\] lacks 'popcounts'"),
        ("popcounts = 16\n", "popcounts = 16\ncores = 1\n", "has 'cores', which a gpu does not have"),
        ("popcounts = 16\n", 'popcounts = "16"\n', "'popcounts' is '16'"),
        ("popcounts = 16\n", "popcounts = -1\n", "'popcounts' is -1"),
        ("popcounts = 16\n", "popcounts = nan\n", "'popcounts' is nan"),
        ('"sm_90a"', '""', "'arch' is no text"),
        ('l2_bytes = "public kernels on H200, about 8 TB/s"', 'l2_bytes = ""', "where 'l2_bytes' comes from"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, said):
    path = tmp_path / "device.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(DataError, match=said):
        read_device(path)


def test_an_unknown_form_of_products_is_refused(tmp_path):
    path = tmp_path / "device.toml"
    path.write_text(GOOD.replace('"and"', '"or"'))
    with pytest.raises(DataError, match="b1_form is 'or'"):
        rates_of(read_device(path))


def test_the_slowest_resource_bounds():
    cpu, gpu = roof_of(device_named("zen4")), roof_of(device_named("h200"))
    much = Cost(binary_macs=1 << 30, weight_bits=8, input_bits=8, output_bits=8)
    assert predicted(much, cpu, 1).bound is Bound.PRODUCTS
    assert predicted(much, cpu, 4).seconds == pytest.approx(4 * predicted(much, cpu, 1).seconds)
    assert predicted(Cost(weight_bits=8 << 30), cpu, 1).bound is Bound.MEMORY
    assert predicted(Cost(weight_bits=8 << 10), cpu, 1).bound is Bound.CACHE
    small = predicted(Cost(weight_bits=8 << 10), gpu, 1)
    assert (small.bound, small.seconds) == (Bound.LAUNCH, LAUNCH_S)
