"""What ``compile`` says about the machine code of the kernels, with a disassembler and without one."""

from __future__ import annotations

import json

import pytest

from bnncc.codegen.package import REPORT, Package
from bnncc.diagnostics import PlatformError
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.sass import find_nvdisasm

COMPILE = ("compile", "tiny.bnn", "--target", "cuda", "--arch", "sm_90a", "-o", "tiny.bnnpkg")


@pytest.fixture(autouse=True)
def _tools() -> None:
    try:
        find_cuda_compiler()
        find_nvdisasm()
    except PlatformError as missing:
        pytest.skip(str(missing))


def test_instructions_are_counted_and_not_part_of_the_package(bnncc) -> None:
    rows = json.loads(bnncc(*COMPILE, "--json").out)["targets"]["cuda"]
    kept = json.loads(Package.load("tiny.bnnpkg").entry(REPORT))["targets"]["cuda"]
    for row, kept_row in zip(rows, kept, strict=True):
        code = row["archs"]["sm_90a"].pop("instructions")
        assert row == kept_row
        assert code["total"] >= sum(code["counts"].values()) > 0
        assert (code["calls"], code["local_accesses"]) == ([], 0)
        found = row["archs"]["sm_90a"]
        assert found["warps"] == found["blocks"] * -(-row["threads"] // 32) <= found["max_warps"] == 64


def test_the_table_shows_occupancy_and_products(bnncc) -> None:
    text = " ".join(bnncc(*COMPILE).err.split())
    assert "/64" in text
    assert "POPC" in text
    assert "IDP" in text


def test_without_a_disassembler_the_rest_is_there(bnncc, monkeypatch) -> None:
    def none(*_: object) -> None:
        raise PlatformError("no nvdisasm found. Get it without a toolkit: pip install nvidia-cuda-nvdisasm")

    monkeypatch.setattr("bnncc.toolchain.sass.find_nvdisasm", none)
    result = bnncc(*COMPILE, "--json")
    assert result.code == 0
    assert "pip install nvidia-cuda-nvdisasm" in result.err
    for row in json.loads(result.out)["targets"]["cuda"]:
        assert "warps" in row["archs"]["sm_90a"]
        assert "instructions" not in row["archs"]["sm_90a"]
