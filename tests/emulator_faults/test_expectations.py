"""What the emulator computes for machines with a GPU is written without one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.gpu_check.main import main
from bnncc.diagnostics import PlatformError
from bnncc.toolchain.find_cuda import find_cuda_compiler
from tests.emulator_faults.cases import cases


def test_expectations_are_written_and_right(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_cuda_compiler("nvrtc")
    except PlatformError as missing:
        pytest.skip(str(missing))
    assert main(["--expect", "--out", str(tmp_path)]) == 0
    described = json.loads((tmp_path / "executor" / "cases.json").read_text(encoding="utf-8"))["cases"]
    assert [item["name"] for item in described] == [
        case.name for source in ("popc", "tensor", "hopper") for case in cases() if case.source == source
    ]
    for case in cases():
        with np.load(tmp_path / "executor" / f"{case.name}.npz") as arrays:
            for name, expected in case.outputs.items():
                np.testing.assert_array_equal(arrays[f"out_{name}"], expected)
            for name, given in case.inputs.items():
                np.testing.assert_array_equal(arrays[f"in_{name}"], given)
